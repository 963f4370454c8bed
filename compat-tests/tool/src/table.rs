/// The table of a module's scenarios, with the file that they stand in. One that is forgotten is never used, and that is a
/// warning.
macro_rules! scenarios {
    ($file:literal: $($name:ident)*) => {
        pub(crate) const SCENARIOS: crate::catalogue::Module = crate::catalogue::Module {
            path: module_path!(),
            source: include_str!($file),
            scenarios: &[$((stringify!($name), $name)),*],
        };
    };
}
