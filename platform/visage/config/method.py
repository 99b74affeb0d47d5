"""What the sections `method` and `loss` of all methods have in common, and how an experiment finds its method's."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model, model_validator

from visage.config.data import Section

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Networks(Section):
    """The networks of a method: the section `method`. Each method's folder says what else stands in its own.

    paired: whether training and judging need people with two expressions.
    """

    paired: ClassVar[bool] = True

    name: str


class Adversarial(Section):
    weight: Weight = 1.0
    form: Literal["log", "hinge", "least_squares"] = Field(
        "log", description="(extension) hinge, least_squares; log is the paper's reading"
    )
    start: Share = Field(
        0.0,
        description="(extension) share of the run before which there is no discriminator: its own loss, feature "
        "matching and classification begin there too",
    )


class Extension(Section):
    """A part of a loss that the published method is without: off by default."""

    weight: Weight = 0.0


class Triplet(Section):
    weight: Weight = 1.0
    margin: float = Field(
        1.0,
        gt=0,
        le=2,
        description="on squared distances of unit vectors, 0..4; FaceNet's 0.2 rarely binds in the compact one",
    )
    embedding: str = Field(
        "compact",
        description="compact, vggface2, casia-webface, or a path to FaceNet weights; crossed, which not every method "
        "has: two compact ones, each fitted to one half of the training people and used on the other, so that none "
        "knows whom it looks at",
    )


class Loss(Section):
    """What a method's networks pay: the section `loss`. A part of the loss is weighted by the section of its name.

    Two of them mean the same in every method that has them: `adversarial` and `triplet`.
    """

    @property
    def critic(self) -> Adversarial | None:
        """What faces pay to a discriminator; None for a method without one."""
        return getattr(self, "adversarial", None)

    @property
    def start(self) -> float:
        """The share of the run before which there is no discriminator."""
        return self.critic.start if self.critic else 0.0

    @property
    def embedding(self) -> str | None:
        """The identity embedding that the loss asks, by name or as the path of a file; None where it asks none."""
        triplet: Triplet | None = getattr(self, "triplet", None)
        return triplet.embedding if triplet else None

    def check(self, networks: Any) -> None:
        """Raise ValueError where a weight does not fit the method's networks, which are of its own kind."""


class FaceSynthesis(Networks):
    """What the networks of several methods have. Fields marked (extension) are not in the published methods."""

    width: int = Field(32, ge=8, le=128, multiple_of=8, description="channels of the generator's first level")
    discriminator_width: int = Field(32, ge=8, le=128, multiple_of=8)
    mask: bool = Field(False, description="(extension) blend the output over the input by a learned mask")
    warp: bool = Field(False, description="(extension) move the input by a learned smooth flow before blending")
    basis: bool = Field(
        False,
        description="(extension) lay maps of flow and colour that all people share under the network's own; takes the "
        "place of mask and warp",
    )

    @model_validator(mode="after")
    def _blending(self) -> "FaceSynthesis":
        if self.basis and (self.mask or self.warp):
            raise ValueError("basis moves and colours the input by itself; leave mask and warp out")
        if self.warp and not self.mask:
            raise ValueError("warp shows only where a mask lets the input through; set mask: true")
        return self


def own_networks(tree: Any) -> Networks:
    """The section `method`, as it is written, as the kind of the method that it names; without a name, the first one's.

    Raises pydantic's ValidationError, and ValueError for a setting of another method.
    """
    from visage.methods import METHODS, method_of

    if isinstance(tree, Networks):
        return tree
    choices: Any = Literal[tuple(METHODS)]
    named: Any = create_model("Method", name=(choices, next(iter(METHODS))))
    name = str(named.model_validate(tree).name)  # type: ignore[attr-defined]
    kinds = {method: method_of(method).Networks for method in METHODS}
    return kinds[name].model_validate(_without_others("method", tree, name, kinds))


def own_loss(tree: Any, name: str) -> Loss:
    """The section `loss`, as it is written, as the kind of the method of this name; errors as of `own_networks`."""
    from visage.methods import METHODS, method_of

    if isinstance(tree, Loss):
        return tree
    kinds = {method: method_of(method).Loss for method in METHODS}
    return kinds[name].model_validate(_without_others("loss", tree, name, kinds))


def _without_others(section: str, tree: Any, name: str, kinds: Mapping[str, type[Section]]) -> Any:
    """A section as it is written, without what stands at its default and is another method's alone: experiments that an
    older Visage wrote name the settings of every method."""
    if not isinstance(tree, dict):
        return tree
    own = dict(tree)
    for field in [key for key in own if key not in kinds[name].model_fields]:
        others = {other: kind.model_fields[field] for other, kind in kinds.items() if field in kind.model_fields}
        if others and not any(_at_default(own[field], described) for described in others.values()):
            raise ValueError(
                f"{section}.{field} is for method {next(iter(others))}, and the method is {name}; remove it"
            )
        if others:
            del own[field]
    return own


def _at_default(value: Any, described: Any) -> bool:
    """Whether a value as it is written is what a field is without it. described: the field, of a Section."""
    try:
        return bool(TypeAdapter(described.annotation).validate_python(value) == described.default)
    except ValidationError:
        return False


def alike(one: str, other: str) -> bool:
    """Whether the methods of these names are asked the same, so that their figures can be held against each other."""
    from visage.methods import method_of

    return method_of(one).request is method_of(other).request


def schema_at(schema: type[BaseModel], field: str, tree: Mapping[str, Any]) -> Any:
    """The type of a field of `schema`, which is written as `tree`: of the sections `method` and `loss` its method's."""
    found = schema.model_fields[field].annotation
    if found not in (Networks, Loss):
        return found
    from visage.methods import METHODS, method_of

    method = method_of((tree.get("method") or {}).get("name", next(iter(METHODS))))
    return method.Networks if found is Networks else method.Loss
