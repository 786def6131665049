"""What libraries print of their own while models are opened and closed, silenced: their bars, and a warning of theirs to each other.

May import transformers.
"""

from __future__ import annotations

import warnings

from transformers.utils.logging import disable_progress_bar

OF_PEFT = r"`is_gradient_checkpointing` is deprecated"  # peft 0.21 and TRL 1.16 read it; nothing a user could change
OF_TRL = r"`gradient_checkpointing(_enable)?` is deprecated"


def quieten() -> None:
    """For the rest of the process. Downloads from the hub keep their bar."""
    disable_progress_bar()
    for message in (OF_PEFT, OF_TRL):
        warnings.filterwarnings("ignore", message=message, category=FutureWarning)
