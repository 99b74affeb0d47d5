from ray_head import head

__all__ = ["head"]
