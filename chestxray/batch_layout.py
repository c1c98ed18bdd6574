"""Name the files of a batch folder, and how NIH lays out the tables of ChestX-ray14."""

TABLE = "Data_Entry_2017_v2020.csv"
OLD_TABLE = "Data_Entry_2017.csv"
BOXES = "BBox_List_2017.csv"
TEST_LIST = "test_list.txt"
TRAIN_LIST = "train_val_list.txt"
SYNTHETIC_NOTICE = "SYNTHETIC.txt"
"""A file of this name in a batch says that its images are drawn, not taken of people."""
UNLABELLED_NOTICE = "UNLABELLED.txt"
"""A file of this name in a batch lists the findings that nobody looked for in its images, a name a line."""

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
"""Of files that may be tables or lists, in any case."""

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
"""Header of the table. Commas inside brackets separate fields too, as in the rows: 11 fields."""
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h]"
"""Header of the boxes, without the three empty fields at its end."""

NIH_BOXES_SHA256 = "0bbfea9d4c4e9771481b3023b1bc9f0df9dea924453b12986beb29b0c4d0c95b"
"""Of the table of boxes as NIH publishes it."""
NIH_SIDE = 1024
"""Of the square images that NIH publishes, in pixels; its boxes are in theirs, not in the originals' that its table of
entries speaks of."""

PHANTOM_ROOT = "data/raw/phantom"
"""Folder of the first batch that the stage `phantom` writes."""
UPDATE_ROOT = "data/raw/update"
"""Folder of the second."""
