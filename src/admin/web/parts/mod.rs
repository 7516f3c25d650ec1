//! What pages are made of: small pure templates, a file per kind.

pub mod badges;
pub mod facts;
pub mod figures;
pub mod flash;
pub mod forms;
pub mod icons;
pub mod notes;
pub mod pager;
pub mod times;
