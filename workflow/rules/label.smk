# The number of batches is fixed before anything is selected, so that no checkpoint is needed here and
# a dry-run shows the whole generation; the last ones may be empty.
rule label_batch:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        frames=f"{GEN}/select/frames.extxyz",
    output:
        f"{GEN}/label/batch_{{batch}}.extxyz",
    log:
        f"{GEN}/logs/label_batch_{{batch}}.log",
    benchmark:
        f"{GEN}/benchmarks/label_batch_{{batch}}.tsv"
    threads: 1
    params:
        store=label_store,
        batches=n_batches,
    shell:
        "maceloop label --frames {input.frames:q} --config {input.plan:q} --store {params.store:q} --batch {wildcards.batch}/{params.batches} --threads {threads} --out {output:q} 2> {log:q}"


rule merge_labels:
    input:
        plan=ancient(f"{GEN}/plan.json"),
        frames=f"{GEN}/select/frames.extxyz",
        batches=label_batches,
    output:
        f"{GEN}/label/merged.json",
    log:
        f"{GEN}/logs/merge_labels.log",
    benchmark:
        f"{GEN}/benchmarks/merge_labels.tsv"
    shell:
        "maceloop merge-labels --plan {input.plan:q} --frames {input.frames:q} --out {output:q} {input.batches:q} 2> {log:q}"
