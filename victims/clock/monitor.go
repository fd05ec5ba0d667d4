// Looks at the wall clock every 100 ms, without its monotonic part, and complains when it went back.
//
// It works as TiDB's placement driver does (its `systime_mon.go`): the time that it compares with is read before the
// wait for the next tick. Each look is counted; at SIGTERM it says `BYE looks <n> jumps <n>`, exit code 0.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const period = 100 * time.Millisecond

func main() {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	tick := time.NewTicker(period)
	defer tick.Stop()
	fmt.Println("start system time monitor")
	looks, jumps := 0, 0
	for {
		last := time.Now().UnixNano()
		select {
		case <-tick.C:
			looks++
			if time.Now().UnixNano() < last {
				jumps++
				stamp := time.Now().Format("2006/01/02 15:04:05.000 -07:00")
				fmt.Printf("[%s] [ERROR] [\"system time jump backward\"] [last=%d]\n", stamp, last)
			}
		case <-terminated:
			fmt.Printf("BYE looks %d jumps %d\n", looks, jumps)
			return
		}
	}
}
