//! Lists of an enum's variants that cannot fall behind the enum.

/// Makes a module with `ALL`, the names of the listed variants, and `name`, which does not compile
/// until every variant of the enum is listed.
macro_rules! variants {
    ($module:ident of $enum:path: $($variant:ident)*) => {
        mod $module {
            use $enum as Enum;

            pub const ALL: &[&str] = &[$(stringify!($variant)),*];

            pub fn name(value: &Enum) -> &'static str {
                match value {
                    $(Enum::$variant { .. } => stringify!($variant),)*
                }
            }
        }
    };
}
