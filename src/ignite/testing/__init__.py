"""Tools to test training programs: fault injection, exact resume, and several processes."""

from ignite.testing.faults import Fault, Kill, Nan, Raise, Signal, Slow, TornFile, tear
from ignite.testing.injection import Injection, inject, num_fired
from ignite.testing.processes import run_processes
from ignite.testing.resume import Resumption, Run, assert_resume_is_exact

__all__ = [
    "Fault",
    "Injection",
    "Kill",
    "Nan",
    "Raise",
    "Resumption",
    "Run",
    "Signal",
    "Slow",
    "TornFile",
    "assert_resume_is_exact",
    "inject",
    "num_fired",
    "run_processes",
    "tear",
]
