//! Scenarios, conformance, interop with other people's clients, and the checks the repository makes on itself.
//! Nothing ships from here; everything is a test target beside this file.
