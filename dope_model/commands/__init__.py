"""The commands of `python -m dope_model`, one file each; each adds itself to the parser."""

from dope_model.commands.benchmark import add_benchmark
from dope_model.commands.calibrate import add_calibrate
from dope_model.commands.complete import add_complete
from dope_model.commands.convert import add_convert
from dope_model.commands.detect import add_detect
from dope_model.commands.distillation_study import add_distillation_study
from dope_model.commands.export import add_export
from dope_model.commands.finetune import add_finetune
from dope_model.commands.info import add_info
from dope_model.commands.label import add_label
from dope_model.commands.render import add_render
from dope_model.commands.train import add_train

ALL = (
    add_detect,
    add_info,
    add_label,
    add_render,
    add_convert,
    add_train,
    add_finetune,
    add_calibrate,
    add_complete,
    add_distillation_study,
    add_benchmark,
    add_export,
)
