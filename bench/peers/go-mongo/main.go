// The limit of a plain client: the official Go driver reads the change stream as raw bytes and throws them away.
package main

import (
	"context"
	"log"
	"os"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func main() {
	ctx := context.Background()
	expected, err := strconv.Atoi(os.Getenv("EXPECTED"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGO_URL")))
	if err != nil {
		log.Fatal(err)
	}
	stream := options.ChangeStream().
		SetStartAfter(bson.D{{Key: "_data", Value: os.Getenv("TOKEN")}}).
		SetFullDocument(options.WhenAvailable).
		SetFullDocumentBeforeChange(options.WhenAvailable)
	changes, err := client.Database("perf").Collection("orders").Watch(ctx, mongo.Pipeline{}, stream)
	if err != nil {
		log.Fatal(err)
	}
	bytes := 0
	for count := 0; count < expected; count++ {
		if !changes.Next(ctx) {
			log.Fatal(changes.Err())
		}
		bytes += len(changes.Current)
	}
	log.Printf("%d changes, %d bytes", expected, bytes)
}
