//! The tree of a template, and its nodes as Go prints them in errors.

use std::fmt;

use super::quote::quote;

/// A sequence of nodes.
pub(super) type Block = Vec<Node>;

/// Something that produces output or directs it.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { position: usize, name: String, pipeline: Option<Pipeline> },
    Break,
    Continue,
}

/// `if`, `with` and `range`.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub pipeline: Pipeline,
    pub body: Block,
    pub otherwise: Option<Block>,
}

/// Commands, each taking the value of the one before as its last argument.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub position: usize,
    pub assigns: bool,
    pub variables: Vec<String>,
    pub commands: Vec<Command>,
}

/// A value, or a function or method and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub words: Vec<Expression>,
}

/// An operand and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub position: usize,
    pub term: Term,
}

/// What an operand is.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text {
        quoted: String,
        text: String,
    },
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A`, the variable first.
    Variable(Vec<String>),
    Function(String),
    Pipeline(Pipeline),
    /// `(…).A.B`
    Chain(Box<Expression>, Vec<String>),
}

/// A number as written and the forms it can take.
#[derive(Debug, Clone)]
pub(super) struct Number {
    pub text: String,
    pub integer: Option<i64>,
    pub unsigned: Option<u64>,
    pub float: Option<f64>,
    pub is_character: bool,
}

fn fields(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number(number) => f.write_str(&number.text),
            Term::Text { quoted, .. } => f.write_str(quoted),
            Term::Field(names) => fields(f, names),
            Term::Variable(names) => {
                f.write_str(&names[0])?;
                fields(f, &names[1..])
            }
            Term::Function(name) => f.write_str(name),
            Term::Pipeline(pipeline) => write!(f, "({pipeline})"),
            Term::Chain(base, names) => {
                write!(f, "{base}")?;
                fields(f, names)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{word}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{}", self.variables.join(", "))?;
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Action(pipeline) => write!(f, "{{{{{pipeline}}}}}"),
            Self::If(branch) => write!(f, "{{{{if {}}}}}", branch.pipeline),
            Self::With(branch) => write!(f, "{{{{with {}}}}}", branch.pipeline),
            Self::Range(branch) => write!(f, "{{{{range {}}}}}", branch.pipeline),
            Self::Template { name, pipeline: Some(pipeline), .. } => {
                write!(f, "{{{{template {} {pipeline}}}}}", quote(name))
            }
            Self::Template { name, .. } => write!(f, "{{{{template {}}}}}", quote(name)),
            Self::Break => f.write_str("{{break}}"),
            Self::Continue => f.write_str("{{continue}}"),
        }
    }
}
