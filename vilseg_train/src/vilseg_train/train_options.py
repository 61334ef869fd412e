"""Which options of `vilseg train` go together."""

from collections.abc import Mapping


def check_together(
    *, self_train: bool, training: Mapping[str, object], teaching: Mapping[str, object]
) -> None:
    """Refuse an option that would be passed over without a word.

    training, teaching: by name, those that go only without and only with --self-train; what is not
    given is None or False.

    Raises:
        ValueError: one of the wrong kind was given.
    """
    wrong = [name for name, value in (training if self_train else teaching).items() if value]
    if not wrong:
        return
    came = ", ".join(wrong)
    if self_train:
        raise ValueError(
            f"--self-train: expected {', '.join(teaching)}, --set, --out and --resume beside it, "
            f"came {came}; leave that out"
        )
    raise ValueError(f"{came}: expected --self-train RUN beside it, came none; name the run")
