//! Data on disk: kills, full disks, maintenance of the journal, and data of earlier versions.

mod compatibility;
mod duplicates;
mod files;
mod full_disk;
mod journal;
mod kill;
mod knowledge_base;
mod limits;
mod looking;
mod losses;
mod modes;
mod newer_formats;
mod removed;
mod start_check;
