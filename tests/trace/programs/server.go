// A server of the kind that Go programs are: one process, a goroutine for each client, and a port of its
// own for what a client asks for.
//
//	server ADDRESS PORT
//
// Commands, one a line: "tcp" and "udp" listen on a port of the kernel's choice and answer "port N"; a
// connection to the TCP port is told "data".
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
)

func tcp(control net.Conn) error {
	listener, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	go func() {
		defer listener.Close()
		data, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(data, "data")
		data.Close()
	}()
	fmt.Fprintln(control, "port", listener.Addr().(*net.TCPAddr).Port)
	return nil
}

func udp(control net.Conn) error {
	socket, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		return err
	}
	fmt.Fprintln(control, "port", socket.LocalAddr().(*net.UDPAddr).Port)
	return nil
}

func serve(control net.Conn) {
	defer control.Close()
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		var err error
		switch lines.Text() {
		case "tcp":
			err = tcp(control)
		case "udp":
			err = udp(control)
		}
		if err != nil {
			fmt.Fprintln(control, "failed:", err)
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "ready")
	for {
		control, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go serve(control)
	}
}
