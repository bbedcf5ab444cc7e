rule explore_md:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        committee=f"{GEN}/train/committee.json",
        train=f"{GEN}/dataset/train.extxyz",
        valid=f"{GEN}/dataset/valid.extxyz",
    output:
        frames=f"{GEN}/explore/walker_{{walker}}.extxyz",
        end=f"{GEN}/explore/walker_{{walker}}.json",
    log:
        f"{GEN}/logs/explore_md_{{walker}}.log",
    benchmark:
        f"{GEN}/benchmarks/explore_md_{{walker}}.tsv"
    threads: 1
    shell:
        "maceloop explore --plan {input.plan:q} --committee {input.committee:q} --train {input.train:q} --valid {input.valid:q} --walker {wildcards.walker} --out {output.frames:q} 2> {log:q}"


rule select_frames:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        committee=f"{GEN}/train/committee.json",
        train=f"{GEN}/dataset/train.extxyz",
        dataset=f"{GEN}/dataset/dataset.json",
        walkers=walkers,
    output:
        frames=f"{GEN}/select/frames.extxyz",
        parquet=f"{GEN}/select/candidates.parquet",
        csv=f"{GEN}/select/candidates.csv",
        select=f"{GEN}/select/select.json",
    log:
        f"{GEN}/logs/select_frames.log",
    benchmark:
        f"{GEN}/benchmarks/select_frames.tsv"
    wildcard_constraints:
        gen="[0-9]*[1-9][0-9]*",  # generation 0 has its frames from prepare_seed
    threads: 1
    shell:
        "maceloop select --plan {input.plan:q} --committee {input.committee:q} --train {input.train:q} --out {output.frames:q} {input.walkers:q} 2> {log:q}"
