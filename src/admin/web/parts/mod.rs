//! What pages are made of: small pure templates, a file per kind.

pub mod assignments;
pub mod badges;
pub mod chart;
pub mod facts;
pub mod figures;
pub mod flash;
pub mod forms;
pub mod health;
pub mod icons;
pub mod links;
pub mod notes;
pub mod pager;
pub mod progress;
pub mod snapshots;
pub mod times;
pub mod verdicts;
pub mod words;
