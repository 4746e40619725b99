// step-ca without its command line: Debian packages its code (golang-github-smallstep-certificates-dev), not the program.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o step-ca .
//	step-ca ca.json
package main

import (
	"log"
	"os"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
)

func main() {
	settings, err := config.LoadConfiguration(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server, err := ca.New(settings, ca.WithConfigFile(os.Args[1]))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Run())
}
