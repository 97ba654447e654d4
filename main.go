// Command px360 is the whole of PX360 in one binary: `px360 help` tells what it can do.
package main

import "os"

func main() {
	p := program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	os.Exit(p.runUntilSignal(os.Args[1:]))
}
