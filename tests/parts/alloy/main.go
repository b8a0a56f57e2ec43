// Prints every block and attribute of a configuration, as Alloy's own parser reads it from standard input.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
)

func show(path string, body ast.Body) {
	for _, statement := range body {
		switch one := statement.(type) {
		case *ast.AttributeStmt:
			fmt.Println(path + one.Name.Name)
		case *ast.BlockStmt:
			name := path + strings.Join(one.Name, ".")
			fmt.Println(name)
			show(name+" ", one.Body)
		}
	}
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		var file *ast.File
		if file, err = parser.ParseFile("config.alloy", text); err == nil {
			show("", file.Body)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
