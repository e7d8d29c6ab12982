"""intra-search: IntRA-KD distillation and architecture search for road-marking segmentation."""

__version__ = "0.1.0"
