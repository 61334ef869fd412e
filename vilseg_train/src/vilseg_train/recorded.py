"""Names in the record of a run that a loss of one's own cannot take."""

RESERVED = (
    "cluster",
    "cluster_entropy",
    "clusters_used",
    "cross",
    "gradient_norm",
    "images_per_second",
    "loss",
    "lr",
    "mean_target_entropy",
    "memory_gib",
    "nearer",
    "pixel_entropy",
    "retrieval",
    "samples",
    "skipped",
    "step",
    "target_entropy",
    "temperature",
    "vision",
)
