# The one step of a generation to which the plan is not `ancient` (prepare_seed in generation 0). A job
# that has to be done again and whose files are ancient to all that follows hides the rest from
# Snakemake 9: it would do that job, and say that all is done.
rule build_dataset:
    input:
        plan=f"{GEN}/plan.json",
        merged=merged_before,
        assess=assessed_before,
        ledger=ledger_before,
    output:
        f"{GEN}/dataset/train.extxyz",
        f"{GEN}/dataset/valid.extxyz",
        f"{GEN}/dataset/dataset.json",
        f"{GEN}/dataset/ledger.parquet",
        f"{GEN}/dataset/ledger.csv",
    log:
        f"{GEN}/logs/build_dataset.log",
    benchmark:
        f"{GEN}/benchmarks/build_dataset.tsv"
    params:
        folder=f"{GEN}/dataset",
        doubts=each_assessment,
        sides=kept_sides,
    shell:
        "maceloop build-dataset --plan {input.plan:q} --merged {input.merged:q} {params.doubts:q} {params.sides:q} --out {params.folder:q} 2> {log:q}"


# Checkpoints of a killed training lie beside the outputs, undeclared: Snakemake would delete them.
rule train_member:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        train=f"{GEN}/dataset/train.extxyz",
        valid=f"{GEN}/dataset/valid.extxyz",
    output:
        f"{GEN}/train/member_{{member}}/model.safetensors",
        f"{GEN}/train/member_{{member}}/model.json",
        f"{GEN}/train/member_{{member}}/metrics.json",
        f"{GEN}/train/member_{{member}}/history.parquet",
        f"{GEN}/train/member_{{member}}/history.csv",
    log:
        f"{GEN}/logs/train_member_{{member}}.log",
    benchmark:
        f"{GEN}/benchmarks/train_member_{{member}}.tsv"
    threads: 1
    params:
        folder=f"{GEN}/train/member_{{member}}",
    shell:
        "maceloop train --train {input.train:q} --valid {input.valid:q} --config {input.plan:q} --member {wildcards.member} --out {params.folder:q} 2> {log:q}"


rule calibrate:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        valid=f"{GEN}/dataset/valid.extxyz",
        models=member_models,
    output:
        f"{GEN}/train/committee.json",
    log:
        f"{GEN}/logs/calibrate.log",
    benchmark:
        f"{GEN}/benchmarks/calibrate.tsv"
    threads: 1
    params:
        members=folders,
    shell:
        "maceloop calibrate --plan {input.plan:q} --valid {input.valid:q} --out {output:q} {params.members:q} 2> {log:q}"
