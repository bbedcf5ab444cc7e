checkpoint assess_generation:
    input:
        unpack(assessed_with),
        plan=ancient(f"{GEN}/plan.json"),
        merged=f"{GEN}/label/merged.json",
    output:
        f"{GEN}/assess.json",
    log:
        f"{GEN}/logs/assess_generation.log",
    benchmark:
        f"{GEN}/benchmarks/assess_generation.tsv"
    threads: 1
    params:
        options=assess_options,
    shell:
        "maceloop assess --plan {input.plan:q} --merged {input.merged:q} {params.options:q} --out {output:q} 2> {log:q}"
