//! Answers that are programs: found in the text, run in the sandbox.

use super::{Grade, fences};
use crate::error::TaskError;
use crate::example::Example;
use crate::sandbox::{Outcome, Program, Sandbox};

/// The metric that a program is graded by, as lm-evaluation-harness and evalplus call it.
const PASS_AT_1: &str = "pass@1";

/// Runs the program that `program_of` makes of each completion against the tests of its example.
pub(crate) fn grade(
    sandbox: &Sandbox,
    graded: &[(&Example, &str)],
    program_of: impl Fn(&Example, &str) -> String,
) -> Result<Vec<Grade>, TaskError> {
    let program = |(example, completion): &(&Example, &str)| Program {
        code: program_of(example, completion),
        tests: example.tests.clone().unwrap_or_default(),
    };
    let programs: Vec<Program> = graded.iter().map(program).collect();
    let outcomes = sandbox.run(&programs)?;
    let grade = |(Program { code, .. }, outcome): (Program, Outcome)| {
        let grade = Grade::new(Some(code), [(PASS_AT_1, outcome.is_passed())]);
        match outcome {
            Outcome::Passed => grade,
            Outcome::Failed { why } => Grade { why: Some(why), ..grade },
        }
    };
    Ok(programs.into_iter().zip(outcomes).map(grade).collect())
}

/// The program that `completion` holds. Where the question is a program that lacks its end, which is so where the tests
/// have all of it for their prelude, it comes first: with its imports and helpers before one that writes the function
/// anew, and to be continued by one that does not.
pub(crate) fn whole(example: &Example, completion: &str) -> String {
    let program = fences::program(completion);
    let Example { question, tests, .. } = example;
    let Some(tests) = tests.as_ref().filter(|tests| tests.prelude == *question) else { return program.into_owned() };
    let defines = |name: &String| program.lines().any(|line| line.trim_start().starts_with(&format!("def {name}(")));
    match !tests.entry_points.is_empty() && tests.entry_points.iter().all(defines) {
        false => format!("{question}{}", indented(&program)),
        // What has to stand at the very beginning of a file would not.
        true if program.contains("from __future__") => program.into_owned(),
        true => format!("{question}\n{program}"),
    }
}

/// `code` as the body of a function: indented unless its first line already is.
pub(crate) fn indented(code: &str) -> String {
    let code = code.trim_start_matches('\n');
    if code.starts_with([' ', '\t']) {
        return code.into();
    }
    code.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Tests;

    #[test]
    fn a_question_that_is_a_program_comes_first() {
        #[track_caller]
        fn check(question: &str, completion: &str, expected: &str) {
            let prelude = if question.starts_with("import") { question } else { "import math" };
            let tests = Tests { prelude: prelude.into(), entry_points: vec!["f".into()], ..Tests::default() };
            assert_eq!(whole(&Example::program(question, "", tests), completion).trim_end(), expected.trim_end());
        }
        let stub = "import math\ndef f(x):\n    \"\"\"Add 3.\"\"\"\n";
        check(stub, "    return x + 3", &format!("{stub}    return x + 3"));
        for dedented in ["return x + 3", "```python\n    return x + 3\n```", "    return x + 3\n```\n"] {
            check(stub, dedented, &format!("{stub}    return x + 3\n"));
        }
        check(
            stub,
            "y = x\nif y:\n    y = 3\nreturn y",
            &format!("{stub}    y = x\n    if y:\n        y = 3\n    return y\n"),
        );
        let function = "def f(x):\n    return x + 3\n";
        check(stub, function, &format!("{stub}\n{function}"));
        check(stub, &format!("Here:\n```python\n{function}```"), &format!("{stub}\n{function}"));
        let postponed = format!("from __future__ import annotations\n{function}");
        check(stub, &postponed, &postponed);
        check("Write f(x) to add 3.", function, function);
        check("Write f(x) to add 3.", "return x + 3", "return x + 3");
        check("Complete this function.\ndef f(x):\n    \"\"\"Add 3.\"\"\"", function, function);
    }
}
