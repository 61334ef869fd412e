"""Look at a source of captions before training on it: describe it, check it, pack it."""

from vilseg_data.survey.checking import CheckReport, check, hash_folder, hash_labelled
from vilseg_data.survey.hashing import near_pairs, perceptual_hash
from vilseg_data.survey.journal import Journal
from vilseg_data.survey.packing import PackReport, pack
from vilseg_data.survey.records import Finding, Record, Records
from vilseg_data.survey.sheet import contact_sheet
from vilseg_data.survey.sources import records_of_config, records_of_path, splits_of
from vilseg_data.survey.summary import Summary, inspect_source

__all__ = [
    "CheckReport",
    "Finding",
    "Journal",
    "PackReport",
    "Record",
    "Records",
    "Summary",
    "check",
    "contact_sheet",
    "hash_folder",
    "hash_labelled",
    "inspect_source",
    "near_pairs",
    "pack",
    "perceptual_hash",
    "records_of_config",
    "records_of_path",
    "splits_of",
]
