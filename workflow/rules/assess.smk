# Scores the new labels, and computes those again that the committee doubts: it needs what label_batch
# needs.
rule recheck_labels:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        merged=f"{GEN}/label/merged.json",
        committee=f"{GEN}/train/committee.json",
        select=f"{GEN}/select/select.json",
    output:
        recheck=f"{GEN}/label/recheck.json",
        scored=scored_frames("{gen}"),
    log:
        f"{GEN}/logs/recheck_labels.log",
    benchmark:
        f"{GEN}/benchmarks/recheck_labels.tsv"
    threads: 1
    shell:
        "maceloop recheck --plan {input.plan:q} --merged {input.merged:q} --committee {input.committee:q} --select {input.select:q} --threads {threads} --out {output.recheck:q} 2> {log:q}"


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
