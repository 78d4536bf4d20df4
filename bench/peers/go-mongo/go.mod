module peer

go 1.23

require go.mongodb.org/mongo-driver/v2 v2.3.0
