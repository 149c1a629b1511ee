"""The files of annotation tools to masks: labelme, CVAT for images, COCO."""
