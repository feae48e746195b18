// What Go's own note and tlog packages say of a ledger that is published as tiles: its entries, and whether it continues an older one.
// Arguments: folder, vkey, and an older checkpoint to continue from (or "").
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type tiles string

func (dir tiles) Height() int { return 8 }

func (dir tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := [][]byte{}
	for _, tile := range wanted {
		// Go's paths name the height of a tile and spell hashes and entries in one scheme; C2SP's leave the height out.
		data, err := os.ReadFile(filepath.Join(string(dir), "tile", tile.Path()[len("tile/8/"):]))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (dir tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func head(text []byte, key string) tlog.Tree {
	verifier, err := note.NewVerifier(key)
	must(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	must(err)
	var origin, root string
	var tree tlog.Tree
	_, err = fmt.Sscanf(opened.Text, "%s\n%d\n%s\n", &origin, &tree.N, &root)
	must(err)
	tree.Hash, err = tlog.ParseHash(root)
	must(err)
	return tree
}

func main() {
	dir, key, before := os.Args[1], os.Args[2], os.Args[3]
	text, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	must(err)
	tree := head(text, key)
	reader := tlog.TileHashReader(tree, tiles(dir))
	entry := int64(0)
	for bundle := int64(0); entry < tree.N; bundle++ {
		width := tree.N - bundle*256
		path := tlog.Tile{H: 8, L: 0, N: bundle, W: 256}
		if width < 256 {
			path.W = int(width)
		}
		data, err := os.ReadFile(filepath.Join(dir, "tile", "entries", path.Path()[len("tile/8/0/"):]))
		must(err)
		for ; len(data) > 0; entry++ {
			length := int(data[0])<<8 + int(data[1])
			if tree.N < 2000 || entry%257 == 0 { // each takes a millisecond
				hash := tlog.RecordHash(data[2 : 2+length])
				proof, err := tlog.ProveRecord(tree.N, entry, reader)
				must(err)
				must(tlog.CheckRecord(proof, tree.N, tree.Hash, entry, hash))
			}
			data = data[2+length:]
		}
	}
	if before != "" {
		text, err := os.ReadFile(before)
		must(err)
		old := head(text, key)
		proof, err := tlog.ProveTree(tree.N, old.N, reader)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	}
	fmt.Println(entry, "entries")
}
