"""How much MLflow is asked for."""

from fake_campaign import write_fake_campaign

from mace_core.config import load_config
from mace_core.track import project, track


class Counting:
    """A client of MLflow that counts its calls."""

    def __init__(self, client):
        self.client, self.calls = client, 0

    def __getattr__(self, name):
        self.calls += 1
        return getattr(self.client, name)


def test_calls_do_not_grow_with_the_generations_before(tmp_path, monkeypatch):
    config = load_config(write_fake_campaign(tmp_path, generations=3, outcome="continue"))
    clients = []

    def counted(tracking, real=project.open_client):
        clients.append(Counting(real(tracking)))
        return clients[-1]

    monkeypatch.setattr(project, "open_client", counted)
    assert all(track(config, g)["synced"] for g in range(4))
    calls = [client.calls for client in clients]
    assert calls[3] <= calls[2] <= calls[1] < 60
