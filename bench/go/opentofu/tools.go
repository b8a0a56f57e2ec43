// Package opentofu pins OpenTofu, which `make bench` compares with. Its go.mod copies OpenTofu's `replace` lines.
package opentofu

import _ "github.com/opentofu/opentofu/cmd/tofu"
