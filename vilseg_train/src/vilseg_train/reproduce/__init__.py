"""The paper's tables and figures, rerun by anyone: `study.reproduce`."""
