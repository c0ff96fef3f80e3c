"""nuScenes: its own tables, and the infos that MMDetection3D makes of them."""
