from intra_search.scenes.synthetic.scene import draw_scene

__all__ = ["draw_scene"]
