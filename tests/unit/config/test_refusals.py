"""Each mistake in one line: what is wrong, where it was set, the closest right names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Refuse = Callable[..., str]
Write = Callable[[str, str], Path]
ON = "set on the command line"

WORDS = {
    # groups and their options
    "model=detr data=coc": ("data=coc: no such data", "'coco'"),
    "optimizer=sdg": ("optimizer=sdg: no such optimizer", "'sgd'"),
    "experiments=nope": ("experiments=nope: no such experiments",),
    "strategy=ddpp": ("no such strategy", "did you mean 'ddp'"),
    "model=": ("no such model", "detr_tiny"),
    "model=[detr,detr_tiny]": (
        "one option is chosen of a group: ",
        ", detr, ",
    ),
    "~model=detr": ("that option is not chosen",),
    "optimizer=null": ("optimizer takes the name of an option: adagrad, adam, adamw,",),
    "dataa=x": ("unknown key 'dataa'", ON, "'data'"),
    "+data=coco": ("data is chosen already; write data=coco",),
    "++data=coco": ("data is chosen already; write data=coco",),
    "model@foo=detr_tiny": ("there is no group 'model@foo'", "'model'"),
    "model/foo=detr": ("there is no group 'model/foo'", "'model'"),
    "~data": ("no data is chosen: add data=NAME",),
    "~optimizer": ("no optimizer is chosen: add optimizer=NAME",),
    # keys
    "foo=1": ("unknown key 'foo' in the config", ON, "seed"),
    "+foo=1": ("unknown key 'foo' in the config", f"{ON}: +foo=1", "seed"),
    "foo.bar=1": ("unknown key 'foo' in the config",),
    "modle.net.num_queries=3": ("unknown key 'modle'", "'model'"),
    "optimizer.lrr=1": ("optimizer.lrr=1: unknown key 'lrr' in optimizer", ON, "'lr'"),
    "+optimizer.foo=2": ("optimizer.foo: unknown key 'foo' in optimizer", f"{ON}: +optimizer.foo=2", "weight_decay"),
    "++trainer.devicez=2": ("unknown key 'devicez' in trainer", f"{ON}: ++trainer.devicez=2", "'devices'"),
    "seed.x=3": ("seed is the value 0 and holds no key 'x'", ON),
    "~foo": ("~foo: unknown key 'foo'",),
    "~optimizer.lr": ("optimizer.lr is missing", f"{ON}: ~optimizer.lr"),
    "~seed": ("data.seed: interpolation key 'seed' not found", "conf/data/shapes.yaml"),
    "+model.net.dropout=0.5": ("model.net.dropout is there already; write model.net.dropout=0.5",),
    "hydra.run.dir=x": ("Hydra's own settings are fixed", "paths.runs_dir"),
    "optimizer={lrr:1}": ("unknown key 'lrr' in optimizer", ON, "'lr'"),
    "model=gru4rec eval.monitor=mrr_21": ("eval.monitor=mrr_21: should be one of", "or null", "'mrr_20'"),
    "model=gru4rec eval.ks=[10] eval.monitor=mrr_20": ("recall_10, mrr_10, ndcg_10", "the command line"),
    "model=gru4rec eval.also=full": ("eval.also=full: is eval.protocol already", "the command line"),
    "model=gru4rec eval.ties=worst": ("eval.ties=worst: should be one of standard, conservative, median",),
    "model=gru4rec eval.ks=[]": ("eval.ks",),
    "eval=recommendation": ("eval=recommendation (", "a model for detection is measured by eval=detection"),
    "model=sasrec eval=segmentation": ("a model for recommendation is measured by eval=recommendation",),
    "eval.semantic=true": ("eval.semantic=true: unknown key 'semantic' in eval",),
    # what a kind of problem adds
    "model.task=detektion": ("model.task=detektion (", "no such kind", "'detection'", "extensions=[PACKAGE]"),
    "model.asks.image_siz=3": ("model.asks.image_siz: unknown key 'image_siz' in model.asks", ON, "'image_size'"),
    "model.asks.image_size=0": ("model.asks.image_size=0: should be greater than 0", ON),
    "model.asks.segments=panoptic": ("unknown key 'segments' in model.asks",),
    "model.learning.loss=ce": (
        "model.learning.loss (",
        ON,
        "a model for detection has no settings model.learning; leave it out",
    ),
    "model=resnet18 model.learning.los=ce": ("unknown key 'los' in model.learning", ON, "'loss'"),
    "model=resnet18 eval.loss=ce": ("model.learning.loss=ce: should be one of cross_entropy, binary_cross_entropy",),
    "model=mixmatch data.unlabelled=0": (
        "model.learning.method=mixmatch (",
        "data=cifar10 gives no unlabelled images: say how many views of each, data.unlabelled=2, and",
    ),
    "model=mixmatch data=shapes data.augmentation.erase=0.5": ("beside unlabelled images there are flips and shifts",),
    "model=mixmatch data.num_labels=null": ("say how many images have labels: data.num_labels=250",),
    "model=mixmatch data.batch_size=8 trainer.accumulate_grad_batches=2": (
        "mixmatch mixes the images of a whole batc",
    ),
    "model=mixmatch strategy=fsdp": ("strategy=fsdp", "mixmatch mixes the images of all ranks; it works with auto,"),
    "model=mixmatch model.learning.threshold=0.5": ("unknown key 'threshold' in model.learning", ON),
    "model=mixmatch model.learning.loss=binary_cross_entropy": ("model.learning.loss", "should be"),
    "model=mixmatch model.learning.alpha=0": ("model.learning.alpha=0: should be greater than 0",),
    "model=resnet18 model.learning.method=mixmach": ("should be one of supervised, mixmatch, pseudo_label", ON),
    "model=maskformer model.asks.segments=all": ("model.asks.segments=all: should be one of semantic, panoptic",),
    "model=sasrec +model.net.num_items=3": (
        "model.net.num_items: the data says how many items there are; leave it out",
    ),
    # values
    "trainer.devices=true": ("trainer.devices=true: should be an integer", f"{ON}: trainer.devices=true"),
    "trainer.devices=1.0": ("trainer.devices=1.0: should be an integer",),
    "trainer.devices=1025": ("trainer.devices=1025: should be less than or equal to 1024",),
    "trainer.max_steps=20.0": ("trainer.max_steps=20.0: should be an integer",),
    "trainer.max_steps=99999999999999999999": ("trainer.max_steps=99999999999999999999: should be less than",),
    "seed='3'": ("seed='3': should be an integer", f"{ON}: seed='3'"),
    "seed=1.0": ("seed=1.0: should be an integer",),
    "check=yes": ("check=yes: should be true or false",),
    "check=on": ("check=on: should be true or false",),
    "check=t": ("check=t: should be true or false",),
    "check=1": ("check=1: should be true or false",),
    "check=0.0": ("check=0.0: should be true or false",),
    "check='1'": ("check='1': should be true or false",),
    "callbacks.progress=off": ("callbacks.progress=off: should be true or false",),
    "optimizer.lr=nan": ("optimizer.lr=nan: should be a finite number",),
    "optimizer.lr='nan'": ("optimizer.lr='nan': should be a number",),
    "optimizer.lr='inf'": ("optimizer.lr='inf': should be a number",),
    "optimizer.lr=true": ("optimizer.lr=true: should be a number",),
    "trainer.gradient_clip_val=inf": ("trainer.gradient_clip_val=inf: should be a finite number",),
    "scheduler=poly scheduler.power=inf": ("scheduler.power=inf: should be a finite number",),
    "scheduler=step scheduler.gamma=nan": ("scheduler.gamma=nan: should be a finite number",),
    "optimizer=sgd optimizer.momentum=1": ("optimizer.momentum=1: should be less than 1",),
    "optimizer=sgd optimizer.momentum=0 optimizer.nesterov=true": ("nesterov=true: needs optimizer.momentum above",),
    "paths.runs_dir=": ("paths.runs_dir=: should not be empty", ON),
    "paths.runs_dir=''": ("paths.runs_dir=: should not be empty",),
    "paths.runs_dir=1.10": ("paths.runs_dir=1.1: should be a text, and a number is one in quotes",),
    "paths.runs_dir=true": ("paths.runs_dir=true: should be a text",),
    "ckpt=": ("ckpt=: should not be empty",),
    "resume=": ("resume=: should not be empty",),
    "logger.wandb.project=": ("logger.wandb.project=: should not be empty",),
    "trainer.devices=two": ("trainer.devices=two: should be an integer", f"{ON}: trainer.devices=two"),
    "stage=tst": ("stage=tst: should be one of fit, validate, test, predict", ON, "'test'"),
    "check=maybe": ("check=maybe: should be true or false",),
    "optimizer.lr=inf": ("optimizer.lr=inf: should be a finite number",),
    "optimizer.lr=null": ("optimizer.lr=null: should be a number",),
    "model.net=3": ("model.net=3: should hold keys of its own",),
    "optimizer.betas=[0.9,1]": ("optimizer.betas.1=1: should be less than 1",),
    "debug.limit_train_batches=1.5": ("debug.limit_train_batches=1.5: should be an integer or should be less than",),
    "trainer={devices:two}": ("trainer.devices=two", f"{ON}: trainer={{devices:two}}"),
    "logger.wandb=true": ("logger.wandb=true: should hold keys of its own",),
    "seed=4294967296": ("seed=4294967296: should be less than 4294967296",),
    "data=coco data.category_ids=contigous": ("Literal['raw', 'contiguous']", "'contiguous'?"),
    "extensions=pkg": ("extensions=pkg: should be a list",),
    "optimizer.groups=[{pattern:a,lrx:1}]": ("optimizer.groups.0.lrx: unknown key 'lrx'", "'lr'"),
    # words that cannot be read, and interpolations that lead nowhere
    "optimizer.lr=[a": ("optimizer.lr=[a: the value cannot be read", "quoted"),
    "data.root='/x/it's": ("data.root='/x/it's: the value cannot be read (", "quoted"),
    "extensions=[数{": ("extensions=[数{: the value cannot be read ([ is not closed)",),
    "optimizer.lr=f(é)": ("the value cannot be read (the sign 'é')", "quoted"),
    "optimizer.lr='a": ("optimizer.lr='a: the value cannot be read (a quote is not closed)",),
    "optimizer.lr=${seed": ("optimizer.lr=${seed: the value cannot be read",),
    "optimizer.lr=1,2": ("optimizer.lr=1,2: several values are a sweep: add -m",),
    "é=1": ("'é' is no key",),
    "=3": ("=3: write key=value",),
    "optimizer.lr=${nope}": ("optimizer.lr: interpolation key 'nope' not found", f"{ON}: optimizer.lr=${{nope}}"),
    "optimizer.lr=${oc.env:NO_SUCH_NAME}": ("optimizer.lr: environment variable 'NO_SUCH_NAME' not found", ON),
    "optimizer.lr=???": ("optimizer.lr: a value is needed", ON),
    "seed=${seed}": ("recursive interpolation",),
    # unions by name
    "optimizer.name=adamx": ("optimizer.name=adamx: should be one of adam, adamw, sgd", ON, "'adam'"),
    "optimizer.name=sgd": ("optimizer.momentum is missing for optimizer.name=sgd", "optimizer=sgd brings"),
    "scheduler.name=step": ("scheduler.step_size is missing for scheduler.name=step", "scheduler=step brings"),
    "+optimizer.momentum=0.9": ("unknown key 'momentum' in optimizer", "betas"),
    # arguments of targets, from their source text
    "model.net.num_querys=5": ("detr_tiny takes no argument 'num_querys'", ON, "'num_queries'"),
    "+model.net.num_querys=5": ("detr_tiny takes no argument 'num_querys'", ON, "'num_queries'"),
    "model.net.num_queries=ten": ("model.net.num_queries=ten: detr_tiny takes int", ON),
    "model.net.dropout=null": ("model.net.dropout=null: detr_tiny takes float",),
    "model.net.frozen_backbone=conv1": ("detr_tiny takes Sequence[str]",),
    "model.net.num_classes=5": ("the data says how many classes there are",),
    "model=detr model.net.num_querys=5": ("detr_resnet50 takes no argument 'num_querys'", "'num_queries'"),
    "model=detr model.net.num_queries=ten": ("detr_resnet50 takes int",),
    "model=detr model.pretrained=coc": ("neither a file nor weights of detr_resnet50", "'coco'"),
    "model=detr model.pretrained=a.pth": ("model.pretrained=a.pth: no such file",),
    "model.net._target_=detr_resnet5": ("unknown model 'detr_resnet5'", "'detr_resnet50'"),
    "model.net._target_=detr_resnet50.coc": ("detr_resnet50 has no weights 'coc'", "'coco'"),
    "model.net._target_=lab.models.detr.network.DETER": ("has no 'DETER'", ON, "'DETR'"),
    "model.net._target_=lab.models.dettr.network.DETR": ("'lab.models' has no 'dettr'", "'detr'"),
    "model.net._target_=os.system": ("not in an allowed package", "extensions=[PACKAGE]"),
    "data.num_vall=3": ("ShapesDataModule takes no argument 'num_vall'", "'num_val'"),
    "data.root=x": ("ShapesDataModule takes no argument 'root'",),
    "extensions=[no_such_package]": ("there is no package 'no_such_package'", ON),
    # ranges of constructors, from their source text
    "model.net.num_queries=0": ("model.net.num_queries=0: should be greater than or equal to 1", ON),
    "model.net.num_queries=100000000000": ("num_queries=100000000000: should be less than or equal to 100000",),
    "model.net.num_queries=true": ("model.net.num_queries=true: detr_tiny takes int", ON),
    "model.net.dropout=1.0": ("model.net.dropout=1.0: should be less than 1",),
    "model.net.dropout=nan": ("model.net.dropout=nan: should be a finite number",),
    "model.net.embed_dim=98": ("model.net.embed_dim=98: should be a multiple of 4",),
    "model.net.num_heads=5": ("num_heads=5 (", "must divide model.net.embed_dim=96 (set in", "detr_tiny.yaml"),
    "model.net.position=sin": ("detr_tiny takes Literal['sine', 'learned']", "'sine'?"),
    "model.net.cost_class=-1": ("model.net.cost_class=-1: should be greater than or equal to 0", ON),
    "model.net.focal_alpha=2": ("model.net.focal_alpha=2: should be less than or equal to 1",),
    "model.net.cost_clas=1": ("detr_tiny takes no argument 'cost_clas'", "'cost_class'"),
    "model.net.loss_options=1": ("detr_tiny takes no argument 'loss_options'",),
    "model=maskformer_tiny data=segfolder model.net.num_points=-1": (
        "model.net.num_points=-1: should be greater than",
    ),
    "model=maskformer_tiny data=segfolder data.val_share=1": ("data.val_share=1: ", "should be less than 1"),
    "model=maskformer_tiny data=coco_panoptic data.val_shar=0.2": ("takes no argument 'val_shar'", "'val_share'"),
    "model=sasrec data.max_length=-1": ("data.max_length=-1: should be greater than or equal to 1", ON),
    "model=sasrec data.negative_alpha=2": ("data.negative_alpha=2: should be less than or equal to 1",),
    "model=sasrec data.num_items=5000": (
        "must be at most data.num_train=4000 (set in",
        "sessions_synthetic.yaml",
    ),
    "model=sasrec data.mean_length=30": ("must be below data.max_session=30",),
    "model=gru4rec model.net.layers=[]": ("model.net.layers=[]: should have at least 1 item, not 0",),
    "model=gru4rec model.net.layers=[100,0]": ("model.net.layers.1=0: should be greater than or equal to 1",),
    "model=session_knn model.net.neighbors=5001": ("must be at most model.net.sample_size=5000",),
    "data.image_size=0": ("data.image_size=0: should be greater than or equal to 3", ON),
    "data.image_size=31": (
        "data.max_side=32 (set in",
        "shapes.yaml): must be at most data.image_size=31",
    ),
    "data.num_train=0": ("data.num_train=0: should be greater than or equal to 1",),
    "data.num_val=-1": ("data.num_val=-1: should be greater than or equal to 1",),
    "data.min_shapes=4": ("data.min_shapes=4", "must be at most data.max_shapes=3 (set in", "shapes.yaml)"),
    "data.max_overlap=1.5": ("data.max_overlap=1.5: should be less than or equal to 1",),
    "data=coco data.augmentation.flip=2": ("data.augmentation.flip=2: should be less than or equal to 1",),
    "data=coco data.augmentation.scales=[480,0]": ("data.augmentation.scales.1=0: should be greater than or equal",),
    "data=coco data.augmentation.zoom=[1]": ("data.augmentation.zoom=[1]: should have at least 2 items",),
    "data=coco +data.augmentation.flp=0": ("takes no argument 'flp'", "'flip'"),
    "model=maskformer data=segfolder data.augmentation.crop_tries=0": (
        "data.augmentation.crop_tries=0: should be greater than",
    ),
    "model=sasrec data=interactions data.file=''": ("data.file=: should not be empty",),
    # two mistakes: the first one, with its own closest names
    "optimizer.lrr=1 dta=coco": ("optimizer.lrr=1: unknown key 'lrr' in optimizer", "'lr'?"),
    "dta=coco optimizer.lrr=1": ("dta=coco: unknown key 'dta' in the config", "'data'"),
    "model=sasrec optimizer.betaz=1 optimizr.lr=1": ("unknown key 'betaz' in optimizer", "'betas'?"),
    # combinations
    "strategy=tensor_parallel trainer.devices=2 strategy.tensor_parallel_size=3": ("does not divide the 2 devices", ON),
    "strategy=tensor_parallel trainer.devices=2 strategy.tensor_parallel_size=4": ("does not divide the 2 devices",),
    "trainer.max_steps=null trainer.max_epochs=null": ("are both null", "set one"),
    "trainer.max_steps=5 trainer.max_epochs=3": ("trainer.max_steps=5", "trainer.max_epochs=3", "only one"),
    "data.batch_size=33 trainer.accumulate_grad_batches=2": ("data.batch_size=33", "32 or 34 would be"),
    "strategy=single trainer.devices=2": ("strategy=single uses one device", ON),
    # files
    "ckpt=nowhere.ckpt": ("ckpt=nowhere.ckpt: no such file or folder", ON, "there is no checkpoint in runs/ yet"),
    "ckpt=.": ("a folder, no checkpoint",),
    "resume=elsewhere": ("resume=elsewhere: neither auto, never nor a run directory",),
    "stage=predict": ("needs input=FILE or input=FOLDER",),
    "stage=predict input=nowhere": ("input=nowhere: no such file or folder",),
    "data=coco": ("data=coco: data/coco does not exist", "conf/data/coco.yaml", "get train2017.zip"),
    "data=voc data.root=here": ("data=voc: here does not exist", f"{ON}: data.root=here", "get VOCtrainval"),
}


@pytest.mark.parametrize("words", WORDS)
def test_a_mistake_is_one_line(words: str, refused: Refuse) -> None:
    line = refused(*words.split(" "))
    for part in WORDS[words]:
        assert part in line


def test_a_gpu_that_is_not_there(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "this machine has no GPU; use trainer=cpu" in refused("trainer=gpu")


def test_lanes_and_tables_that_a_strategy_would_tear_apart(refused: Refuse) -> None:
    words = ("model=gru4rec", "trainer=cpu", "trainer.devices=2")
    line = refused(*words, "strategy=dp")
    for part in ("strategy=dp (", "model=gru4rec trains in lanes", "strategy=ddp splits lanes over processes"):
        assert part in line
    line = refused(*words, "strategy=deepspeed_zero2", "optimizer.momentum=0.3")
    assert "optimizer.momentum=0.3" in line
    assert "strategy=ddp or fsdp" in line


def test_lamb_needs_parameters_that_are_not_joined(refused: Refuse) -> None:
    line = refused("model=bert_tiny", "optimizer=lamb", "trainer=cpu", "trainer.devices=2", "strategy=deepspeed_zero3")
    for part in ("optimizer=lamb (", "the norm of each parameter", "strategy=ddp or fsdp, or optimizer=bert"):
        assert part in line
    assert "scheduler.jump=2: should be" in refused("model=bert_tiny", "scheduler.jump=2")


def test_the_first_missing_file_of_a_dataset_is_named(refused: Refuse, tmp_path: Path) -> None:
    (tmp_path / "voc" / "photos").mkdir(parents=True)
    line = refused("data=voc", "data.root=voc", "data.images=photos", "data.annotations=xml")
    assert "voc/xml does not exist" in line
    (tmp_path / "one" / "images").mkdir(parents=True)
    (tmp_path / "one" / "all.json").touch()
    words = ("data=coco", "data.root=one", "data.train.annotations=all.json", "data.train.images=images")
    assert "one/annotations/instances_val2017.json does not exist" in refused(*words)
    held_out = ("data.val_share=0.2", "data.test.annotations=test.json")
    assert "one/test.json does not exist" in refused(*words, *held_out)


def test_near_checkpoints_and_runs_are_named(refused: Refuse, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "detr_tiny-shapes-01234567"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").touch()
    (folder / "run.json").write_text("{}")
    best = "runs/detr_tiny-shapes-01234567/checkpoints/best.ckpt"
    assert best in refused("ckpt=runs/detr_tiny-shapes-0123456/checkpoints/best.ckpt")
    assert "'runs/detr_tiny-shapes-01234567'" in refused("resume=runs/detr_tiny-shapes-0123456")


def test_a_model_and_data_of_different_tasks(refused: Refuse, mine: Write) -> None:
    folder = mine(
        "data/words", "tasks: [language]\n_target_: lab.tasks.detection.data.shapes.ShapesDataModule\nbatch_size: 4\n"
    )
    line = refused("data=words", dirs=[folder])
    assert "model=detr_tiny needs data for detection, data=words gives language" in line
    assert "mine/data/words.yaml" in line
    assert "data=coco|scenes3d|shapes|voc|yolo_txt would fit" in line


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            "# @package _global_\ndefaults:\n  - override /model: detrr\n",
            ("model=detrr", "mine/experiments/x", "'detr'"),
        ),
        (
            "# @package _global_\ndefaults:\n  - override /modle: detr\n",
            ("no such group", "mine/experiments/x", "'model'"),
        ),
        ("# @package _global_\noptimizer:\n  lrr: 3\n", ("unknown key 'lrr'", "mine/experiments/x.yaml", "'lr'")),
        ("# @package _global_\ntrainer:\n  devices: two\n", ("should be an integer", "mine/experiments/x.yaml")),
        (
            "# @package _global_\nmodel:\n  net:\n    num_query: 1\n",
            ("no argument 'num_query'", "mine/experiments/x.yaml"),
        ),
        ("optimizer:\n  lr: 3\n", ("mine/experiments/x.yaml", "'# @package _global_'")),
        ("# @package _global_\noptimizer: {lr: [\n", ("mine/experiments/x.yaml",)),
        ("# @package _global_\n- 3\n", ("mine/experiments/x",)),
        ("# @package _global_\noptimizer:\n  lr: ${nope}\n", ("'nope' not found", "mine/experiments/x.yaml")),
        ("# @package _global_\ndefaults: 3\n", ("experiments/x",)),
        ("# @package _global_\nexpected: {metric: test/map_50}\n", ("expected.value is missing", "mine/experiments/x")),
    ],
)
def test_a_mistake_in_a_file_names_the_file(content: str, parts: tuple[str, ...], refused: Refuse, mine: Write) -> None:
    line = refused("experiments=x", dirs=[mine("experiments/x", content)])
    for part in parts:
        assert part in line


def test_a_folder_of_groups_that_is_not_there(refused: Refuse, tmp_path: Path) -> None:
    assert "no such folder" in refused(dirs=[tmp_path / "nowhere"])
