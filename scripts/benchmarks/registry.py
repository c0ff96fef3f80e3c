"""The architectures that are measured; a test checks that every registered model belongs to one of them."""

from __future__ import annotations

from benchmarks import afno, baselines, bert, bloom, classifiers, detr, gru4rec, sasrec, segmenters
from benchmarks.pairs import Subject

SUBJECTS = {
    "detr": Subject(
        ("detr_resnet50", "detr_resnet101", "detr_resnet50_dc5", "detr_resnet101_dc5", "detr_tiny"),
        detr.make,
        smoke="detr_tiny",
        small=(2, (160, 192)),
        train=(8, (800, 1066)),
        serve=((1, (800, 1066)), (16, (800, 1066))),
    ),
    "maskformer": Subject(
        (*segmenters.SWINS, "maskformer_resnet50", "maskformer_resnet101", "maskformer_tiny"),
        segmenters.make_maskformer,
        smoke="maskformer_tiny",
        small=(2, (224, 224)),  # transformers' Swin fails on oblong maps that are smaller than a window
        train=(8, (512, 512)),
        serve=((1, (512, 683)),),
    ),
    "swin": Subject(
        ("swin_tiny", "swin_small", "swin_base", "swin_large", *classifiers.TIMM_SWINS[:4]),
        classifiers.make_swin,
        small=(2, (224, 224)),
        train=(128, (224, 224)),
        serve=((64, (224, 224)),),
    ),
    "swin_window12": Subject(
        ("swin_base_window12", "swin_large_window12", *classifiers.TIMM_SWINS[4:]),
        classifiers.make_swin,
        small=(1, (384, 384)),
        on_cpu=False,
    ),
    "resnet": Subject(
        (
            "resnet50",
            "resnet18",
            "resnet34",
            "resnet101",
            "resnet152",
            "resnext50_32x4d",
            "resnext101_32x8d",
            "resnext101_64x4d",
            "wide_resnet50_2",
            "wide_resnet101_2",
        ),
        classifiers.make_torchvision,
        smoke="resnet18",
        small=(4, (96, 128)),
        train=(128, (224, 224)),
        serve=((64, (224, 224)),),
    ),
    "resnetv1d": Subject(
        classifiers.RESNETS_D,
        classifiers.make_resnet_d,
        small=(4, (96, 128)),
        train=(128, (224, 224)),
        serve=((64, (224, 224)),),
        on_cpu=False,
    ),
    "cifar_resnet": Subject(
        ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
        classifiers.make_cifar_resnet,
        smoke="resnet20",
        small=(4, (32, 32)),
        train=(512, (32, 32)),
        serve=((512, (32, 32)),),
    ),
    "shufflenet": Subject(
        ("shufflenet_v2_x1_0", "shufflenet_v2_x0_5", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
        classifiers.make_torchvision,
        smoke="shufflenet_v2_x0_5",
        small=(4, (96, 128)),
        train=(256, (224, 224)),
        serve=((1, (224, 224)), (128, (224, 224))),
    ),
    "shufflenet_yolo": Subject(("shufflenet_v2_yolo_fastest",), classifiers.make_yolo_fastest, small=(2, (96, 128))),
    "mobilenet": Subject(
        ("mobilenet_v2",),
        classifiers.make_torchvision,
        small=(4, (96, 128)),
        train=(256, (224, 224)),
        serve=((1, (224, 224)), (128, (224, 224))),
    ),
    "wide_resnet": Subject(
        ("wide_resnet28_2", "wide_resnet_tiny"),
        classifiers.make_wide_resnet,
        smoke="wide_resnet_tiny",
        small=(4, (32, 32)),
        train=(512, (32, 32)),
        serve=((512, (32, 32)),),
    ),
    "alexnet": Subject(
        ("alexnet",),
        classifiers.make_torchvision,
        small=(2, (224, 224)),
        train=(128, (224, 224)),
        serve=((64, (224, 224)),),
    ),
    "densenet": Subject(
        ("densenet121", "densenet161", "densenet169", "densenet201"),
        classifiers.make_torchvision,
        small=(2, (96, 128)),
        train=(128, (224, 224)),
        serve=((64, (224, 224)),),
    ),
    "vit": Subject(
        (
            "vit_base_patch16_224",
            "vit_tiny_patch16_224",
            "vit_small_patch16_224",
            "vit_base_patch32_224",
            "vit_large_patch16_224",
        ),
        classifiers.make_vit,
        smoke="vit_tiny_patch16_224",
        small=(2, (224, 224)),
        train=(128, (224, 224)),
        serve=((64, (224, 224)),),
    ),
    "vit_384": Subject(
        (
            "vit_base_patch16_384",
            "vit_tiny_patch16_384",
            "vit_small_patch16_384",
            "vit_base_patch32_384",
            "vit_large_patch16_384",
        ),
        classifiers.make_vit,
        small=(1, (384, 384)),
        on_cpu=False,
    ),
    "vit_mini": Subject(("vit_mini_patch4_32",), classifiers.make_vit, small=(4, (32, 32))),
    "sasrec": Subject(
        ("sasrec_pmixer", "sasrec", "sasrec_recbole"),
        sasrec.make,
        small=(64, (50, 2000)),
        train=(512, (200, 20000)),
        steps=sasrec.sasrec_train,
    ),
    "gru4rec": Subject(
        ("gru4rec",),
        gru4rec.make,
        small=(32, (256, 2000)),
        train=(512, (2048, 20000)),
        steps=gru4rec.gru4rec_train,
        steps_per_call=gru4rec.STEPS,
    ),
    "per_pixel": Subject(
        ("per_pixel_resnet50", "per_pixel_tiny"),
        segmenters.make_per_pixel,
        smoke="per_pixel_tiny",
        small=(2, (96, 128)),
    ),
    "conv_stem": Subject(("conv_stem",), classifiers.make_conv_stem, small=(2, (64, 96))),
    "bert": Subject(
        bert.NAMES,
        bert.make,
        smoke="bert_tiny",
        small=(4, (32, 1000)),
        train=(32, (128, 30522)),
        serve=((1, (128, 30522)), (32, (128, 30522))),
    ),
    "bloom": Subject(
        bloom.NAMES,
        bloom.make,
        small=(2, (64, 1000)),
        train=(8, (512, 8192)),
        serve=((8, (512, 8192)),),
    ),
    "text_heads": Subject(bert.HEADS, bert.make, small=(4, (32, 1000)), serve=((32, (128, 30522)),)),
    "afno": Subject(
        ("afno_fourcastnet", "afno_small", "afno_tiny"),
        afno.make,
        smoke="afno_tiny",
        small=(2, (64, 128)),
    ),
    "baselines": Subject(("popularity", "session_knn"), baselines.make, small=(32, (20, 500))),
    "bag_of_words": Subject(("bag_of_words",), baselines.make_bag_of_words, small=(32, (20, 500))),
}
"""Each has (batch, size): pixels for images, (length, items) for sequences, (length, vocabulary) for text, (negatives,
items) for GRU4Rec."""

PLANNED = ("yolo_fastest_v2",)
"""Planned architectures that do not exist yet; when one is added, its name moves to the list above."""
