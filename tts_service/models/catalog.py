"""The models that can be fetched by name.

Sizes and SHA-256 of XTTS v2 come from several public projects that pin the same commit and agree
with each other. What is fetched is checked against them whatever the hub says; what the hub says
of the files in Git LFS is compared with them before anything is fetched.
"""

from .errors import UnknownModelError
from .source import Licence, Model, ModelFile, ModelSource

__all__ = ["MODELS", "XTTS_V2", "find_model"]

# The state of `main`: XTTS v2.0.3, the last that Coqui published.
_XTTS_REVISION = "6c2b0d75eae4b7047358e3b6bd9325f857d43f77"

XTTS_V2 = Model(
    name="xtts-v2",
    required_files=frozenset({"config.json", "model.pth", "speakers_xtts.pth", "vocab.json"}),
    licence=Licence(
        name="Coqui Public Model License 1.0.0 (CPML)",
        summary=(
            "It allows non-commercial use only, of the model and of the audio that it makes. "
            "Whoever gets the model or its audio from you must be told of these terms."
        ),
        # https://coqui.ai/cpml, which the licence names, went away with the company.
        url=f"https://huggingface.co/coqui/XTTS-v2/blob/{_XTTS_REVISION}/LICENSE.txt",
    ),
    source=ModelSource(
        repository="coqui/XTTS-v2",
        revision=_XTTS_REVISION,
        files=(
            ModelFile(
                "LICENSE.txt",
                4_014,
                "190f6d7c19b8984f91b97712b94ce92d2b2e640fc677dacab966e955ece9d043",
            ),
            ModelFile(
                "config.json",
                4_368,
                "ef262b1454dd2a77e1461b0b2cd53e19b8a7624cc131b837d36df67356bc75e8",
            ),
            ModelFile(
                "vocab.json",
                361_219,
                "928260878a59da8a72a2a5b7687fea29d5106137669d90945430fe17e415304a",
            ),
            ModelFile(
                "speakers_xtts.pth",
                7_754_818,
                "f0f6137c19a4eab0cbbe4c99b5babacf68b1746e50da90807708c10e645b943b",
            ),
            ModelFile(
                "model.pth",
                1_867_929_118,
                "c7ea20001c6a0a841c77e252d8409f6a74fb423e79b3206a0771ba5989776187",
            ),
        ),
    ),
)

MODELS = (XTTS_V2,)


def find_model(name: str) -> Model:
    """Returns the model of this name.

    Raises:
        UnknownModelError: there is none.
    """
    for model in MODELS:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in MODELS)
    raise UnknownModelError(f"there is no model {name!r}; there are: {known}")
