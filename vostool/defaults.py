"""Default values that several modules share, each written once; imports nothing.

The command line declares its options with them, `ModelOptions` and the algorithms their fields:
so --help shows what a caller from Python gets, without an import of torch or pydantic.
"""

# the model and its memory bank
MODEL = "stm"  # vostool's own network; another name is a plug-in model
WEIGHTS = "default"
REFERENCE = "memory"
MEMORY_EVERY = 5  # frames from one that is memorised to the next
MEMORY_FRAMES = 8  # in the memory bank, at most
OBJECTS_AT_ONCE = 8
MOST_ZOOM = 16.0  # up to which a region around the objects may be magnified
MOST_REACH = 100.0  # sides of an object's box: more than any frame has

# where and how precisely to compute
AUTO = "auto"
DEVICES = "auto, cpu, cuda or cuda:NUMBER"
PRECISIONS = ("fp32", "bf16", "fp16", "int8")  # beside auto

# the gradient correction and the cycle-ERF (journal Eqs. 8 to 12), as the papers set them
GC_EVERY = 5  # K, frames from one that is corrected to the next
GC_ITERS = 10  # N, steps
GC_RATE = 180.0  # alpha of Eq. 8
GC_SMOOTH = 0.0  # lambda of Eq. 10; the papers: 0.75
PAPER_SMOOTH = 0.75
ERF_ITERS = 50  # M, steps

# the cycle as a judge
CHECK_EVERY = 10  # frames from one that is checked to the next

# disturbed memories (journal 4.3.4)
ATTACKS = ("fgsm", "mi-fgsm")
DISTURB_EVERY = 5  # frames from one that is disturbed to the next
STRENGTH = 20.0  # epsilon of an attack on the masks, in 1/255
ATTACK_STEPS = 10  # T of MI-FGSM
ATTACK_MOMENTUM = 1.0  # mu of MI-FGSM
