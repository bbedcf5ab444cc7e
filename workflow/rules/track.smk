rule track_generation:
    input:
        f"{GEN}/assess.json",
    output:
        f"{GEN}/tracked.json",
    log:
        f"{GEN}/logs/track_generation.log",
    benchmark:
        f"{GEN}/benchmarks/track_generation.tsv"
    params:
        config=CONFIG_FILE,
    shell:
        "maceloop track --config {params.config:q} --through {wildcards.gen} --out {output:q} 2> {log:q}"


rule report:
    input:
        f"{GEN}/assess.json",
    output:
        f"{GEN}/report.html",
    log:
        f"{GEN}/logs/report.log",
    benchmark:
        f"{GEN}/benchmarks/report.tsv"
    params:
        config=CONFIG_FILE,
    shell:
        "maceloop report --config {params.config:q} --through {wildcards.gen} --out {output:q} 2> {log:q}"
