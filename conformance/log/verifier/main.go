// Command logcheck judges envelopes by the DSSE authors' own package; notes, proofs and tiles by those
// of the Go checksum database.
//
// It reads one JSON object a line from standard input and answers each with one line on standard
// output: "accept", or "reject: " with the reason.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// question is one thing to judge; bytes are base64 in JSON.
type question struct {
	Check      string   // "dsse", "ed25519", "note", "proof", "consistency" or "tiles"
	Keys       []string // vkeys of the log; "dsse": SPKI PEMs
	Witnesses  []string // vkeys of witnesses, of signature type 4
	Quorum     int
	Note       []byte // "note": a signed note
	Proof      []byte // "proof": a tlog-proof file
	Entry      []byte
	First      int64 // "consistency": tree sizes with their heads
	Second     int64
	FirstRoot  []byte
	SecondRoot []byte
	Hashes     [][]byte
	Folder     string // "tiles": a log's prefix on this machine
	Envelope   []byte // "dsse"
	Key        []byte // "ed25519": raw key, signature and message
	Signature  []byte
	Message    []byte
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, "logcheck:", err)
			os.Exit(2)
		}
		if err := judge(asked); err != nil {
			fmt.Printf("reject: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("accept")
		}
	}
}

func judge(asked question) error {
	switch asked.Check {
	case "dsse":
		return judgeEnvelope(asked)
	case "ed25519":
		if !ed25519.Verify(asked.Key, asked.Message, asked.Signature) {
			return errors.New("not signed by this key")
		}
		return nil
	case "note":
		verifiers, err := verifiersOf(asked.Keys)
		if err != nil {
			return err
		}
		_, err = note.Open(asked.Note, note.VerifierList(verifiers...))
		return err
	case "proof":
		return judgeProof(asked)
	case "consistency":
		return judgeConsistency(asked)
	case "tiles":
		return judgeTiles(asked)
	}
	return fmt.Errorf("unknown check %q", asked.Check)
}

// signer verifies by a key that has no name, as our envelopes name none.
type signer struct{ public crypto.PublicKey }

func (s signer) KeyID() (string, error)   { return "", nil }
func (s signer) Public() crypto.PublicKey { return s.public }
func (s signer) Verify(_ context.Context, data, sig []byte) error {
	signed := false
	switch key := s.public.(type) {
	case ed25519.PublicKey:
		signed = ed25519.Verify(key, data, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		signed = ecdsa.VerifyASN1(key, sum[:], sig)
	}
	if !signed {
		return errors.New("not signed by this key")
	}
	return nil
}

func judgeEnvelope(asked question) error {
	var signers []dsse.Verifier
	for _, text := range asked.Keys {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return errors.New("malformed PEM")
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		signers = append(signers, signer{public})
	}
	verifier, err := dsse.NewEnvelopeVerifier(signers...)
	if err != nil {
		return err
	}
	var envelope dsse.Envelope
	if err := json.Unmarshal(asked.Envelope, &envelope); err != nil {
		return err
	}
	_, err = verifier.Verify(context.Background(), &envelope)
	return err
}

func verifiersOf(vkeys []string) ([]note.Verifier, error) {
	var verifiers []note.Verifier
	for _, vkey := range vkeys {
		verifier, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, verifier)
	}
	return verifiers, nil
}

// witness verifies cosignature/v1.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(vkey string) (*witness, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("malformed vkey")
	}
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 33 || data[0] != 4 {
		return nil, errors.New("not a vkey of a witness")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), data...))
	return &witness{parts[0], binary.BigEndian.Uint32(sum[:4]), data[1:]}, nil
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 72 {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(w.key, []byte(signed), sig[8:])
}

// openCheckpoint verifies a checkpoint by the log's keys, then counts its witnesses.
func openCheckpoint(asked question, signed []byte) (tlog.Tree, error) {
	logs, err := verifiersOf(asked.Keys)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(signed, note.VerifierList(logs...))
	if err != nil {
		return tlog.Tree{}, err
	}
	if asked.Quorum > 0 {
		if err := countWitnesses(asked, signed); err != nil {
			return tlog.Tree{}, err
		}
	}
	return parseCheckpoint(opened)
}

func countWitnesses(asked question, signed []byte) error {
	var verifiers []note.Verifier
	for _, vkey := range asked.Witnesses {
		verifier, err := newWitness(vkey)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, verifier)
	}
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	if len(opened.Sigs) < asked.Quorum {
		return fmt.Errorf("%d witnesses signed, not %d", len(opened.Sigs), asked.Quorum)
	}
	return nil
}

func parseCheckpoint(opened *note.Note) (tlog.Tree, error) {
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return tlog.Tree{}, errors.New("malformed checkpoint")
	}
	for _, line := range lines[:len(lines)-1] {
		if line == "" {
			return tlog.Tree{}, errors.New("malformed checkpoint: empty line")
		}
	}
	signer := false
	for _, sig := range opened.Sigs {
		signer = signer || sig.Name == lines[0]
	}
	if !signer {
		return tlog.Tree{}, errors.New("no verified key has the origin's name")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || lines[1] != strconv.FormatInt(size, 10) {
		return tlog.Tree{}, errors.New("malformed checkpoint: size")
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

func judgeProof(asked question) error {
	head, signed, found := bytes.Cut(asked.Proof, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("malformed proof: header")
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		if _, err := base64.StdEncoding.DecodeString(lines[0][len("extra "):]); err != nil {
			return err
		}
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return errors.New("malformed proof: index")
	}
	index, err := strconv.ParseInt(lines[0][len("index "):], 10, 64)
	if err != nil || lines[0] != fmt.Sprintf("index %d", index) {
		return errors.New("malformed proof: index")
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	tree, err := openCheckpoint(asked, signed)
	if err != nil {
		return err
	}
	if index < 0 || index >= tree.N {
		return errors.New("index beyond the tree")
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(asked.Entry))
}

func judgeConsistency(asked question) error {
	var proof tlog.TreeProof
	for _, each := range asked.Hashes {
		hash, err := hashOf(each)
		if err != nil {
			return err
		}
		proof = append(proof, hash)
	}
	first, err := hashOf(asked.FirstRoot)
	if err != nil {
		return err
	}
	second, err := hashOf(asked.SecondRoot)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, asked.Second, second, asked.First, first)
}

func hashOf(data []byte) (hash tlog.Hash, err error) {
	if copy(hash[:], data) != tlog.HashSize || len(data) != tlog.HashSize {
		err = errors.New("a hash has not 32 bytes")
	}
	return hash, err
}

// tileFolder reads tiles as tlog wants them, from files laid out by C2SP tlog-tiles.
type tileFolder string

func (f tileFolder) Height() int                     { return 8 }
func (f tileFolder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f tileFolder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), tilePath(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func tilePath(tile tlog.Tile) string {
	// tlog's own path begins with the tile's height, which C2SP leaves out.
	if path, ok := strings.CutPrefix(tile.Path(), "tile/8/data/"); ok {
		return "tile/entries/" + path
	}
	return "tile/" + strings.TrimPrefix(tile.Path(), "tile/8/")
}

func judgeTiles(asked question) error {
	folder := tileFolder(asked.Folder)
	signed, err := os.ReadFile(filepath.Join(asked.Folder, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(asked, signed)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, folder)
	for start := int64(0); start < tree.N; start += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: start / 256, W: int(min(256, tree.N-start))}
		bundle, err := os.ReadFile(filepath.Join(asked.Folder, tilePath(tile)))
		if err != nil {
			return err
		}
		for index := start; index < start+int64(tile.W); index++ {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("entry %d is cut off", index)
			}
			size := 2 + int(binary.BigEndian.Uint16(bundle))
			entry := bundle[2:size]
			bundle = bundle[size:]
			found, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
			if err != nil {
				return err
			}
			if found[0] != tlog.RecordHash(entry) {
				return fmt.Errorf("entry %d is not the one in the tree", index)
			}
		}
		if len(bundle) != 0 {
			return fmt.Errorf("bytes behind entry %d", start+int64(tile.W)-1)
		}
	}
	return nil
}
