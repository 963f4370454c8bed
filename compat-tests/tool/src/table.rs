/// The table of a module's scenarios, with their file. If one is forgotten, the compiler warns that it is never used.
macro_rules! scenarios {
    ($file:literal: $($name:ident)*) => {
        pub(crate) const SCENARIOS: crate::catalogue::Module = crate::catalogue::Module {
            path: module_path!(),
            source: include_str!($file),
            scenarios: &[$((stringify!($name), $name)),*],
        };
    };
}
