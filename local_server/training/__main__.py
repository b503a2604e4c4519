from local_server.training.worker import main

main()
