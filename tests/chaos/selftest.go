package main

import "context"

func selfTest(context.Context, options) error { return nil }
