"""Name the files of a batch folder: a batch is laid out as NIH published ChestX-ray14."""

TABLE = "Data_Entry_2017_v2020.csv"
OLD_TABLE = "Data_Entry_2017.csv"
BOXES = "BBox_List_2017.csv"
TEST_LIST = "test_list.txt"
TRAIN_LIST = "train_val_list.txt"
SYNTHETIC_NOTICE = "SYNTHETIC.txt"
"""A file of this name in a batch says that its images are drawn, not taken of people."""
UNLABELLED_NOTICE = "UNLABELLED.txt"
"""A file of this name in a batch lists the findings that nobody looked for in its images, a name a line."""

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
"""The official header. It splits on the commas inside brackets, as the rows do: 11 fields."""
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h]"
"""The official header of the boxes, less the three empty fields at its end."""

PHANTOM_ROOT = "data/raw/phantom"
"""Where the stage `phantom` writes its first batch."""
UPDATE_ROOT = "data/raw/update"
"""Where it writes its second."""
