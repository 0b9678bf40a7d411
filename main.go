// Command hubpipe copies everything in a company's HubSpot into its own store
// and the company's data warehouse. This file holds signals and exit codes;
// the verbs are in internal/cli.
package main

func main() {}
