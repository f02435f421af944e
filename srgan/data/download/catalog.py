"""What can be fetched: data sets and network weights, with addresses, checksums, terms and citations.

Sizes and SHA-256 are those that the publishers, or others who fetched the file before, have stated. Where a file has no
published SHA-256, the digest of its images is compared if it is known from another source; else ``checksums.json`` records the first
download.
"""

import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Photo:
    """One image of a data set."""

    file: str
    sha256: str
    split: Split
    licence: str
    group: str = ""  # photographs of one scene share a group, and never part in a split


@dataclass(frozen=True)
class File:
    """A file on the net: an archive or an image."""

    urls: tuple[str, ...]  # of the same bytes, tried in order
    size: int = 0  # bytes; 0: not stated anywhere
    sha256: str = ""  # or its first digits; empty: not stated anywhere

    @property
    def name(self) -> str:
        """The last part of the first address."""
        return PurePosixPath(urllib.parse.unquote(self.urls[0].split("?")[0])).name


@dataclass(frozen=True)
class Source:
    """One way to get a split: all of these files."""

    files: tuple[File, ...]
    inside: tuple[str, ...] = ("*",)  # patterns of the wanted images' paths in an archive; ``*`` spans folders
    images: str = ""  # digest of the images (see `srgan.data.download.checksums`), where the files have no SHA-256 of their own

    @property
    def verified(self) -> bool:
        """Whether a published digest decides if it brings the right images."""
        return bool(self.images) or all(file.sha256 for file in self.files)


@dataclass(frozen=True)
class DataSet:
    """A named set of photographs."""

    name: str
    title: str
    licence: str  # the publishers' terms, in short
    citation: str = ""
    homepage: str = ""
    counts: dict[Split, int] = field(default_factory=dict)  # images of each split that there is
    sources: dict[Split, tuple[Source, ...]] = field(default_factory=dict)  # tried in order
    folders: dict[Split, tuple[str, ...]] = field(default_factory=dict)  # below ``datasets/NAME/`` of a mirror, where it has splits
    folder: Path | None = None  # of the user's own images, on this machine
    hr: str = ""  # the folder of the user's HR images below it, if the user names one
    lr: str = ""  # of the LR images
    package: str = ""  # the import name of the installed package that carries the photos below
    package_folder: str = ""
    photos: tuple[Photo, ...] = ()

    @property
    def size(self) -> int:
        """Bytes to download for everything, by the first source of each split; 0 if not stated."""
        files = {file for sources in self.sources.values() for file in sources[0].files}
        return sum(file.size for file in files) if all(file.size for file in files) else 0


@dataclass(frozen=True)
class Weights:
    """Pre-trained weights of a network that scores or guides. Any of the files will do; a download takes the first."""

    name: str
    title: str
    licence: str
    files: tuple[File, ...]


_CC0, _PUBLIC = "CC0-1.0", "public domain"

SAMPLE = DataSet(
    name="sample",
    title="Photographs that ship inside scikit-image",
    licence="mixed: CC0, public domain, research only; each image has its own, see `srgan data show sample`",
    citation="S. van der Walt et al., scikit-image: image processing in Python, PeerJ 2:e453, 2014",
    homepage="https://scikit-image.org",
    counts={"train": 11, "test": 3},
    package="skimage",
    package_folder="data",
    # Left out: charts, logos, text and drawings (no photographs), micrographs, and clock_motion (blurred on purpose).
    photos=(
        Photo("astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", "test", f"{_PUBLIC} (NASA)"),
        Photo("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", "test", f"{_CC0} (Stefan van der Walt)"),
        Photo("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", "test", f"{_CC0} (Rachel Michetti)"),
        Photo("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf", "train", f"{_CC0} (CC0Textures)"),
        Photo("camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a", "train", f"{_CC0} (Lav Varshney)"),
        Photo(
            "coins.png",
            "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
            "train",
            "no known restrictions (Brooklyn Museum)",
        ),
        Photo("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89", "train", _CC0),
        Photo("gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12", "train", f"{_CC0} (CC0Textures)"),
        Photo("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", "train", f"{_PUBLIC} (NASA)"),
        Photo("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577", "train", "not stated by scikit-image"),
        Photo(
            "motorcycle_left.png",
            "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
            "train",
            "research (Middlebury Stereo 2014)",
            group="motorcycle",
        ),
        Photo(
            "motorcycle_right.png",
            "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
            "train",
            "research (Middlebury Stereo 2014)",
            group="motorcycle",
        ),
        Photo("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", "train", f"{_CC0} (Häggström)"),
        Photo("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", "train", f"{_PUBLIC} (SpaceX)"),
    ),
)


_BERKELEY = "non-commercial research and education (Berkeley)"
_UNKNOWN = "no licence stated by its authors; commonly used for research"
_EDSR = File(
    ("https://cv.snu.ac.kr/research/EDSR/benchmark.tar",),
    250_112_000,
    "80c21c333bbf6ceb5308b7243761f8284478274413a97b96f1d63e9045fd93e8",
)
_LAPSRN = "http://vllab.ucmerced.edu/wlai24/LapSRN/results/"
_BSR = File(
    (
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
        "http://web.archive.org/web/20160306133802/http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
    ),
    70_763_455,
    "97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e",
)
_SRCNN = File(  # the digest is stated by two users who do not know each other
    tuple(f"{scheme}://mmlab.ie.cuhk.edu.hk/projects/SRCNN/SRCNN_train.zip" for scheme in ("https", "http")),
    sha256="001146419f7acfb12a3e7929c8acd5de88a08d687d6881085f81321ad6982b1a",
)
_BIDS = File(("https://github.com/BIDS/BSDS500/archive/refs/heads/master.zip",))


def _benchmark(archive: str, lapsrn: str, hub: str) -> dict[Split, tuple[Source, ...]]:
    """Where the four common benchmarks lie: EDSR's archive of all, one archive each, LapSRN's archive of all."""
    return {
        "test": (
            Source((_EDSR,), (f"benchmark/{archive}/HR/*",)),
            Source((File((f"https://huggingface.co/datasets/eugenesiow/{hub}/resolve/main/data/{hub}_HR.tar.gz",)),), (f"{hub}_HR/*",)),
            Source((File((_LAPSRN + "SR_testing_datasets.zip",)),), (f"{lapsrn}/*", f"*/{lapsrn}/*")),
        )
    }


_KODAK = (
    "a56e27cbf5f843c048b6af1d6e090760e9c92fadba88b7dee0205918a37523bd",
    "4f4b74a79237e311d72cad958237b5f7088d8bce1c82305ebefe1a70e3022dfd",
    "e25ca1ff2f0c0cb5fdfd5f9b0a0bb21ac4c3de3c84a67f35b09a85d3306249db",
    "e3b946107c5d3441c022f678d0c3caf1e224d81b1604ba840a4f88e562de61aa",
    "10349e963c5c813d327852f82c1795fa4148d69fedffc4c589bee458e3ac3d53",
    "363510303b715d4cbc384e1ce227e466b613a09e1b71ae985882bf8e7fbd9b18",
    "b77d3f006f42414bb242222e0482e750c0fb9e5ee8d4bed2f6f11c5605fe54a4",
    "ba23983c76b4832ee0e8af0592664756841a16779acd69f792e268fb6d13d6e7",
    "6a4361c2fc194feb4edaa9f9a4a0620fb9943e460ac7fdf037fb0f6dd6607a7d",
    "9dfb70f5867c29ff9ed6313683f19b3d867849e40fbc0c4c54a4a89df341cf23",
    "7936814b58b5387fce2e4e2488b4ec830dadd95fa9520f358ddb30990b50f2b6",
    "d78c37c2f04f23761ed2367dd77e2db584ddd4c3950833fecf89f199a8126980",
    "bc34a3ce58dea09dce1704c997171602de90cb34d0c8503a988b77f473d39b08",
    "55a94550ff18f3246c4074fd32b77b0c74447c26b6ad274d564d999c0450ba6e",
    "7538cbb80cb9103606c48b806eae57d56c885c7f90b9b3be70a41160f9cbb683",
    "a89c7268ccd4718ba424a99fc4643c572cf692ca6eae887185ceb4e9f11d2e54",
    "37afcc89fbdcb76d9518e04b2fc011027e2f4cd14b3b2f83cefd721641a47c5b",
    "1a9258c365988961d87a0598725b609139c303ad48a5aad6c503c3b1a87849aa",
    "b7450b264b1b0a411390d8931b112c27905a992520fc90569dc4b920aa32bbdc",
    "3b46c71e3b92a563820ba32936be8330c586c41f938efd94be938386aae4328a",
    "ac958597c82073f6bb65129c68f72b651db5b9efd82e11547d07350214bc268b",
    "1cee58eb1f2d9c7ebb254d208a03c783ce6cf2c4d8c2cf45e235dd23b4ce1b29",
    "e3111a2fd4da24af15d6459ef9eacfe54106b38e27b4a21821b75c3f5d2d5baf",
    "1071c68372cc5a01435c2c225a5cf7d4bb803846ec08bb6b3d6721b156d7cb96",
)

_CATALOGUE = (
    SAMPLE,
    DataSet(
        name="div2k",
        title="DIV2K: 2K photographs, train and valid",
        licence="academic research only; copyright with the original owners",
        citation="E. Agustsson, R. Timofte, NTIRE 2017 Challenge on Single Image Super-Resolution: Dataset and Study, CVPR Workshops 2017",
        homepage="https://data.vision.ee.ethz.ch/cvl/DIV2K/",
        counts={"train": 800, "test": 100},
        folders={"train": ("train",), "test": ("valid",)},
        sources={
            "train": (
                Source(
                    (
                        File(
                            (
                                "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip",
                                "https://huggingface.co/datasets/goodfellowliu/DIV2K/resolve/main/DIV2K_train_HR.zip",
                            ),
                            3_530_603_713,
                            "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
                        ),
                    ),
                ),
            ),
            "test": (
                Source(
                    (
                        File(
                            ("https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_valid_HR.zip",),
                            448_993_893,
                            "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
                        ),
                    ),
                ),
            ),
        },
    ),
    DataSet(
        name="flickr2k",
        title="Flickr2K: 2K photographs; with DIV2K it makes DF2K",
        licence="none stated; copyright with the photographers on Flickr",
        citation="B. Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, CVPR Workshops 2017",
        homepage="https://github.com/LimBee/NTIRE2017",
        counts={"train": 2650},
        sources={
            "train": (  # the first holds the HR images alone, the authors' own is twice the size
                Source(
                    (
                        File(
                            ("https://huggingface.co/datasets/goodfellowliu/Flickr2K/resolve/main/Flickr2K.zip",),
                            sha256="401a5b1d247d18d1114b77b069e3c7bf235c80f06b8b9caaef0086d07f1d42a3",
                        ),
                    ),
                ),
                Source((File(("https://cv.snu.ac.kr/research/EDSR/Flickr2K.tar",)),), ("Flickr2K/Flickr2K_HR/*",)),
            )
        },
    ),
    DataSet(
        name="bsds500",
        title="BSDS500: Berkeley segmentation photographs, train and test; its val split is B100 and stays out",
        licence=_BERKELEY,
        citation="P. Arbelaez et al., Contour Detection and Hierarchical Image Segmentation, IEEE TPAMI 33(5), 2011",
        homepage="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html",
        counts={"train": 400},
        folders={"train": ("train", "test")},
        sources={
            "train": (
                Source((_BSR,), ("BSR/BSDS500/data/images/train/*", "BSR/BSDS500/data/images/test/*")),
                Source(
                    (_BIDS,),
                    ("*/BSDS500/data/images/train/*", "*/BSDS500/data/images/test/*"),
                    "122b982cb6e36e5af943e132bf441e31484c05a88054751871901b8fe8ce2062",
                ),
            )
        },
    ),
    DataSet(
        name="general100",
        title="General100: small, sharp photographs",
        licence=_UNKNOWN,
        citation="C. Dong, C. C. Loy, X. Tang, Accelerating the Super-Resolution Convolutional Neural Network, ECCV 2016",
        homepage="http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html",
        counts={"train": 100},
        sources={
            "train": (Source((File((_LAPSRN + "SR_training_datasets.zip",)),), ("General100/*", "*/General100/*")),),
        },
    ),
    DataSet(
        name="t91",
        title="T91: the 91 images of the first learned methods",
        licence=_UNKNOWN,
        citation="J. Yang et al., Image Super-Resolution via Sparse Representation, IEEE TIP 19(11), 2010",
        homepage="http://www.ifp.illinois.edu/~jyang29/ScSR.htm",
        counts={"train": 91},
        sources={
            "train": (
                Source((_SRCNN,), ("*Train/*",)),
                Source((File((_LAPSRN + "SR_training_datasets.zip",)),), ("T91/*", "*/T91/*")),
            )
        },
    ),
    DataSet(
        name="kodak24",
        title="Kodak24: lossless photographs of the Kodak PhotoCD",
        licence="released for unrestricted use by Kodak, as widely understood",
        citation="Eastman Kodak, Kodak Lossless True Color Image Suite (PhotoCD PCD0992), 1993",
        homepage="https://r0k.us/graphics/kodak/",
        counts={"test": 24},
        sources={
            "test": (
                Source(
                    tuple(
                        File((f"https://r0k.us/graphics/kodak/kodak/kodim{number:02}.png",), sha256=digest)
                        for number, digest in enumerate(_KODAK, start=1)
                    )
                ),
            )
        },
    ),
    DataSet(
        name="set5",
        title="Set5: the smallest benchmark",
        licence=_UNKNOWN,
        citation="M. Bevilacqua et al., Low-Complexity Single-Image Super-Resolution based on Nonnegative Neighbor Embedding, BMVC 2012",
        homepage="http://people.rennes.inria.fr/Aline.Roumy/results/SR_BMVC12.html",
        counts={"test": 5},
        sources=_benchmark("Set5", "Set5", "Set5"),
    ),
    DataSet(
        name="set14",
        title="Set14: a small benchmark, one image grey",
        licence=_UNKNOWN,
        citation="R. Zeyde, M. Elad, M. Protter, On Single Image Scale-Up Using Sparse-Representations, Curves and Surfaces 2010",
        homepage="https://sites.google.com/site/romanzeyde/research-interests",
        counts={"test": 14},
        sources=_benchmark("Set14", "Set14", "Set14"),
    ),
    DataSet(
        name="b100",
        title="B100: the benchmark that is BSDS500's val split",
        licence=_BERKELEY,
        citation="D. Martin et al., A Database of Human Segmented Natural Images, ICCV 2001",
        homepage="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/",
        counts={"test": 100},
        sources={
            "test": (
                Source((_BSR,), ("BSR/BSDS500/data/images/val/*",)),
                Source((_BIDS,), ("*/BSDS500/data/images/val/*",), "76e5b9d5d6db91adbf289ee08b947b36d9c31e1f59cc8333f0612990c5a47a14"),
                *_benchmark("B100", "BSDS100", "BSD100")["test"],
            )
        },
    ),
    DataSet(
        name="urban100",
        title="Urban100: buildings, hard for their straight and repeated lines",
        licence="none stated by its authors, who ask for the citation",
        citation="J.-B. Huang, A. Singh, N. Ahuja, Single Image Super-Resolution from Transformed Self-Exemplars, CVPR 2015",
        homepage="https://github.com/jbhuang0604/SelfExSR",
        counts={"test": 100},
        sources=_benchmark("Urban100", "Urban100", "Urban100"),
    ),
)

DATA_SETS = {entry.name: entry for entry in _CATALOGUE}


def _torchvision(file: str, size: int, sha256: str) -> File:
    return File((f"https://download.pytorch.org/models/{file}",), size, sha256)


_TORCHVISION = "BSD-3-Clause (torchvision)"
# torchvision's files carry the first digits of their SHA-256 in their names. The `-features` files hold the convolutions alone,
# under the same keys; they are looked for in mirrors, and have no address of their own.
WEIGHTS = {
    entry.name: entry
    for entry in (
        Weights(
            "vgg19",
            "VGG19 on ImageNet, for the perceptual loss",
            _TORCHVISION,
            (_torchvision("vgg19-dcbb9e9d.pth", 574_673_361, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),),
        ),
        Weights(
            "alexnet",
            "AlexNet on ImageNet, for LPIPS",
            _TORCHVISION,
            (
                _torchvision("alexnet-owt-7be5be79.pth", 244_408_911, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
                File(("alexnet-features.safetensors",), 0, "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9"),
            ),
        ),
        Weights(
            "vgg16",
            "VGG16 on ImageNet, for LPIPS",
            _TORCHVISION,
            (_torchvision("vgg16-397923af.pth", 553_433_881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),),
        ),
        Weights(
            "squeezenet",
            "SqueezeNet 1.1 on ImageNet, for LPIPS",
            _TORCHVISION,
            (
                _torchvision("squeezenet1_1-b8a52dc0.pth", 4_958_839, "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
                File(("squeezenet1_1-features.safetensors",), 0, "29dd9af42ad48cb39a767454d382a2232dbc1625a1de3f00fca4868ee65dfc4b"),
            ),
        ),
    )
}
