# `update`: a plan that is there stays, whatever the configuration says by now, even where a killed run
# leaves Snakemake in doubt whether it was finished.
rule plan:
    input:
        previous_assessment,
    output:
        update(f"{GEN}/plan.json"),
    log:
        f"{GEN}/logs/plan.log",
    benchmark:
        f"{GEN}/benchmarks/plan.tsv"
    params:
        config=CONFIG_FILE,
    shell:
        "maceloop plan --config {params.config:q} --generation {wildcards.gen} --out {output:q} 2> {log:q}"


rule prepare_seed:
    input:
        plan=f"{CAMPAIGN}/gen_00/plan.json",
    output:
        f"{CAMPAIGN}/gen_00/select/frames.extxyz",
    log:
        f"{CAMPAIGN}/gen_00/logs/prepare_seed.log",
    benchmark:
        f"{CAMPAIGN}/gen_00/benchmarks/prepare_seed.tsv"
    shell:
        "maceloop prepare-seed --plan {input.plan:q} --out {output:q} 2> {log:q}"
