use proptest::prelude::*;

use super::*;

fn read(sql: &str) -> (&'static str, String) {
    let summary = summary(sql, DbSystem::Postgresql);
    (summary.operation, summary.table.into_owned())
}

#[test]
fn statements_name_what_they_do_and_their_table() {
    for (sql, operation, table) in [
        ("SELECT * FROM users WHERE id = $1", "SELECT", "users"),
        (
            "select u.a, (select max(b) from other) from Users u join x on true",
            "SELECT",
            "users",
        ),
        (
            "SELECT extract(year FROM t) FROM public.\"Orders\"",
            "SELECT",
            "public.Orders",
        ),
        ("SELECT a IS DISTINCT FROM b FROM c", "SELECT", "c"),
        (
            "SELECT n FROM (SELECT count(*) AS n FROM jobs) AS x",
            "SELECT",
            "jobs",
        ),
        (
            "(SELECT a FROM left_one) UNION (SELECT a FROM right_one)",
            "SELECT",
            "left_one",
        ),
        ("SELECT * FROM generate_series(1, 2)", "SELECT", ""),
        ("SELECT 1", "SELECT", ""),
        (
            "WITH a AS (SELECT * FROM b), c (x) AS (SELECT 1) SELECT * FROM a",
            "SELECT",
            "",
        ),
        (
            "WITH RECURSIVE a AS (SELECT 1) INSERT INTO logs SELECT * FROM a",
            "INSERT",
            "logs",
        ),
        ("INSERT INTO users (a) VALUES ($1)", "INSERT", "users"),
        ("insert or replace into users values (1)", "INSERT", "users"),
        ("UPDATE ONLY users SET a = 1", "UPDATE", "users"),
        ("UPDATE OR IGNORE users SET a = 1", "UPDATE", "users"),
        ("DELETE FROM users USING other", "DELETE", "users"),
        ("MERGE INTO stock USING sales ON true", "MERGE", "stock"),
        ("TRUNCATE TABLE ONLY users", "TRUNCATE", "users"),
        ("COPY users FROM STDIN", "COPY", "users"),
        (
            "CREATE UNLOGGED TABLE IF NOT EXISTS a.b (c int)",
            "CREATE",
            "a.b",
        ),
        ("CREATE UNIQUE INDEX i ON users (a)", "CREATE", "users"),
        (
            "CREATE VIEW v AS SELECT 1 FROM a JOIN b ON a.x = b.x",
            "CREATE",
            "",
        ),
        ("DROP TABLE IF EXISTS users", "DROP", "users"),
        ("-- why\n /* a /* b */ c */ BEGIN", "BEGIN", ""),
        ("SAVEPOINT _sqlx_savepoint_1", "SAVEPOINT", ""),
        ("  ", "OTHER", ""),
        ("frobnicate users", "OTHER", ""),
        ("SELECT 'from secrets' FROM users", "SELECT", "users"),
    ] {
        assert_eq!(read(sql), (operation, table.to_owned()), "{sql}");
    }
}

#[test]
fn names_that_are_too_long_are_not_told() {
    let long = format!("SELECT * FROM {}", "a".repeat(NAME + 1));
    assert_eq!(read(&long), ("SELECT", String::new()));
}

#[test]
fn text_keeps_its_form_without_literals() {
    use DbSystem::{Mysql, Postgresql, Sqlite};
    for (system, sql, expected) in [
        (
            Postgresql,
            "SELECT a::text, $1 FROM t  WHERE b = 'x''y' AND c > -1.5e+3",
            "SELECT a::text, $1 FROM t WHERE b = ? AND c > -?",
        ),
        (
            Postgresql,
            "SELECT * FROM t WHERE a IN (1, 2,\n 3) -- all of 'em",
            "SELECT * FROM t WHERE a IN (?)",
        ),
        (
            Postgresql,
            "SELECT E'a\\'b', $$ it's $$, $x$ $$ $x$, \"a b\"",
            "SELECT ?, \"a b\"",
        ),
        (Postgresql, "SELECT 'a\\' , b", "SELECT ? , b"),
        (Postgresql, "SELECT a[1:2]", "SELECT a[?:?]"),
        (
            Sqlite,
            "INSERT INTO \"t\" VALUES (\"x\", X'00', :name, ?2)",
            "INSERT INTO \"t\" VALUES (?, :name, ?2)",
        ),
        (
            Sqlite,
            "SELECT [a b] FROM \"main\".\"t\"",
            "SELECT [a b] FROM \"main\".\"t\"",
        ),
        (
            Mysql,
            "SELECT 'a\\'b', \"c\" FROM `d` # why",
            "SELECT ? FROM `d`",
        ),
        (Postgresql, "SELECT 'no end", "SELECT ?"),
    ] {
        assert_eq!(sanitised(sql, system).trim_end(), expected, "{sql}");
    }
    let long = sanitised(&"SELECT a, ".repeat(1_000), Postgresql);
    assert!(
        long.len() < TEXT + 20 && long.ends_with(" …"),
        "{}",
        long.len()
    );
}

/// A secret in each form that data has, and what it stands between.
fn literal(system: DbSystem, secret: &str, form: usize) -> String {
    let plain = secret.replace('\'', "''");
    let escaped = secret.replace('\\', "\\\\").replace('\'', "\\'");
    let standard = matches!(system, DbSystem::Postgresql | DbSystem::Sqlite);
    match (form, system) {
        (0, _) if standard => format!("'{plain}'"),
        (0, _) => format!("'{escaped}'"),
        (1, DbSystem::Postgresql) => format!("E'{escaped}'"),
        (1, _) => format!("/* {} */ 1", secret.replace("*/", "").replace("/*", "")),
        (2, DbSystem::Postgresql) => format!("$tag${}$tag$", secret.replace('$', "")),
        (2, _) => format!("\"{}\"", escaped.replace('"', "\"\"").replace('\\', "")),
        (3, _) => format!("-- {}\n 7", secret.replace('\n', "")),
        (4, DbSystem::Postgresql) => format!("$${}$$", secret.replace('$', "")),
        _ => format!("n'{}'", if standard { plain } else { escaped }),
    }
}

fn system() -> impl Strategy<Value = DbSystem> {
    prop_oneof![
        Just(DbSystem::Postgresql),
        Just(DbSystem::Sqlite),
        Just(DbSystem::Mysql)
    ]
}

proptest! {
    #[test]
    fn a_literal_never_survives(
        system in system(),
        parts in proptest::collection::vec((0_usize..6, "[ -~é\n]{0,6}", "[ -~é\n]{0,6}"), 1..6),
        number in 10_000_000_u64..,
    ) {
        let mut sql = "SELECT * FROM t WHERE a = $1".to_owned();
        for (form, before, after) in parts {
            let secret = format!("{before}S3CRET{after}");
            sql.push_str(" AND b <> ");
            sql.push_str(&literal(system, &secret, form));
        }
        sql.push_str(&format!(" LIMIT {number}"));
        let text = sanitised(&sql, system);
        prop_assert!(!text.contains("S3CRET"), "{sql}\n{text}");
        prop_assert!(!text.contains(&number.to_string()), "{sql}\n{text}");
        prop_assert!(text.starts_with("SELECT * FROM t WHERE a = $1 AND b <> ?"), "{sql}\n{text}");
    }

    #[test]
    fn any_text_is_read_without_a_panic(sql in "\\PC{0,200}", system in system()) {
        let _ = summary(&sql, system);
        prop_assert!(sanitised(&sql, system).len() <= TEXT * 2);
    }

    #[test]
    fn a_text_without_literals_stays_as_it_is(system in system(), name in "[a-z_]{1,8}") {
        // One more word keeps it from being a keyword.
        let sql = format!("SELECT x_{name} FROM y_{name} WHERE z_{name} = ?");
        prop_assert_eq!(&sanitised(&sql, system), &sql);
        prop_assert_eq!(summary(&sql, system).table, format!("y_{name}"));
    }
}
