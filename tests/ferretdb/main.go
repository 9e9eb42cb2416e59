// A FerretDB on one loopback port, with its data as SQLite files in one directory and no telemetry.
//
// In: the address to listen on and the directory. Out: the URI to reach it, as the one line of standard output. It ends
// when its standard input does, and so with the test that holds the other end, and takes the directory with it.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: ferretdb ADDRESS DIRECTORY")
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: os.Args[1]},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
	})
	if err != nil {
		fail(err.Error())
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	go fmt.Println(server.MongoDBURI())
	if err := server.Run(ctx); err != nil {
		fail(err.Error())
	}
	if err := os.RemoveAll(os.Args[2]); err != nil {
		fail(err.Error())
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, "ferretdb:", text)
	os.Exit(1)
}
