// policy-proxy connects the engine to a Python policy pack. It runs the command in its arguments once the
// engine has named the stack, because a pack reads its stack from its initial environment.
//
// The proxy itself is Pulumi's own, used as in the published Python language host.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	sdk "github.com/pulumi/pulumi/sdk/v3"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	proxy, stdout, err := sdk.NewPolicyProxy(ctx, os.Stdout)
	if err != nil {
		return err
	}
	stack, err := proxy.AwaitConfiguration(ctx)
	if err != nil {
		return err
	}
	variables, err := environment(stack)
	if err != nil {
		return err
	}
	pack := exec.Command(command[0], command[1:]...)
	pack.Env = append(os.Environ(), variables...)
	pack.Stdout, pack.Stderr = stdout, os.Stderr
	if err := pack.Start(); err != nil {
		return err
	}
	if err := proxy.Attach(ctx, pack); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
	}
	<-ctx.Done() // until then the engine may have calls in progress, which end with the pack's fault
	if err := pack.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// environment returns the variables that `python -m pulumi.policy` reads; `pulumi policy analyze` names no
// stack.
func environment(stack *pulumirpc.AnalyzerStackConfigureRequest) ([]string, error) {
	if stack == nil {
		return nil, nil
	}
	config := stack.Config
	if config == nil {
		config = map[string]string{}
	}
	text, err := json.Marshal(config)
	return []string{
		"PULUMI_CONFIG=" + string(text),
		"PULUMI_ORGANIZATION=" + stack.Organization,
		"PULUMI_PROJECT=" + stack.Project,
		"PULUMI_STACK=" + stack.Stack,
		"PULUMI_DRY_RUN=" + strconv.FormatBool(stack.DryRun),
	}, err
}
